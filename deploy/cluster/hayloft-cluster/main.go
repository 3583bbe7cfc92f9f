// Program hayloft-cluster runs a real Kubernetes cluster of two nodes on one machine, in networks of its own. See the
// README of deploy/cluster.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"hayloft.dev/deploy/cluster/machine"
)

// holdCommand is how this program is started as the first process of a machine.
const holdCommand = "hold"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "hayloft-cluster",
		Short:         "a real Kubernetes cluster of two nodes on one machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), downCommand(), enterCommand(), cutCommand(), healCommand(), &cobra.Command{
		Use: holdCommand + " NAME DIR", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return machine.Hold(args[0], args[1]) },
	})
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hayloft-cluster:", err)
		os.Exit(1)
	}
}
