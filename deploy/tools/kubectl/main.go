// Kubectl is the real kubectl, for tests that run the commands of Hayloft's pages:
// what the system's packages have is years older than the clusters it is for.
// Nothing of Hayloft calls it.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() {
	os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
}
