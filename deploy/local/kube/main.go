// Program kube is the real Kubernetes control plane in one binary, for the local stack and the tests:
// kube-apiserver with etcd in the same process, and kube-controller-manager with the few controllers a
// stack without kubelets needs. Everything listens on 127.0.0.1, on ports the kernel chooses, unless it is told otherwise.
//
// It is not a way to run Kubernetes: etcd does not sync to disk, there is one member, no scheduler and no kubelet.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root := &cobra.Command{
		Use:           "kube",
		Short:         "kube-apiserver with etcd, and kube-controller-manager, on loopback",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(apiserverCommand(), controllerManagerCommand(), clientCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		os.Exit(1)
	}
}
