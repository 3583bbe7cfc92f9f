// Program hayloft-local is Hayloft's local stack: a cluster's control plane, Longhorn's engines, an S3 server, agents
// and coordinators on the loopback addresses of one machine. See the README of deploy/local.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root := &cobra.Command{
		Use:           "hayloft-local",
		Short:         "Hayloft's local stack",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), besideCommand(), downCommand(), disk.Command(), guest.VMCommand(), guest.Command())
	// The stand-ins are given their loggers. Without this, what is not given one complains about it after a while.
	log.SetLogger(logr.Discard())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hayloft-local:", err)
		os.Exit(1)
	}
}
