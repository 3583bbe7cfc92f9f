// Program kube-node is the real kubelet and the real kube-scheduler in one binary, for the cluster of deploy/cluster.
// Flags and rules are their own; the rest of the control plane is deploy/local's program kube.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	var command *cobra.Command
	switch os.Args[1] {
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "scheduler":
		command = scheduler.NewSchedulerCommand()
	default:
		usage()
	}
	command.SetArgs(os.Args[2:])
	os.Exit(cli.Run(command))
}

func usage() {
	fmt.Fprintln(os.Stderr, "kube-node: kubelet or scheduler, then its flags")
	os.Exit(2)
}
