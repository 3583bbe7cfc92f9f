package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"hayloft.dev/deploy/local/stack"
)

func upCommand() *cobra.Command {
	var o stack.Options
	var withParent, withWebhook bool
	cmd := &cobra.Command{
		Use:   "up --dir DIR",
		Short: "bring a stack up and keep it until ctrl-c or `down`",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if withParent {
				ctx = untilClosed(ctx, cmd.InOrStdin())
			}
			if err := defaultPaths(&o); err != nil {
				return err
			}
			o.WithWebhook = withWebhook || !o.WithoutHayloft
			o.Out = cmd.OutOrStdout()
			standIns, err := standIns(o.Bin, false)
			if err != nil {
				return err
			}
			o.StandIns = standIns
			return stack.Up(ctx, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "the stack's folder; what an earlier stack left there is removed first")
	f.StringVar(&o.Bin, "bin", "", "folder with agent, coordinator, targetio and local/ (default: above this program's)")
	f.StringVar(&o.Manifests, "manifests", "", "folder with crds/, rbac/, policies/ and webhook/ (default: deploy beside --bin)")
	f.StringVar(&o.LogLevel, "log-level", "info", "of agents and coordinators: debug, info, warn or error")
	f.BoolVar(&o.WithoutHayloft, "without-hayloft", false, "start neither agents nor coordinators")
	f.BoolVar(&o.RealTiming, "real-timing", false, "attach and detach volumes as slowly as the real Longhorn")
	f.BoolVar(&withWebhook, "with-webhook", false, "with --without-hayloft, install the admission webhook all the same: who starts coordinators has them serve it")
	f.StringVar(&o.AuditLog, "audit-log", "", "file for the requests of Hayloft's accounts, as the API server notes them; empty: none")
	f.BoolVar(&withParent, "with-parent", false, "end when standard input is closed")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	return cmd
}

// defaultPaths fills in what was not given: this program is in bin/local of a repository.
func defaultPaths(o *stack.Options) error {
	if o.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding the programs: %w", err)
		}
		o.Bin = filepath.Dir(filepath.Dir(self))
	}
	var err error
	if o.Bin, err = filepath.Abs(o.Bin); err != nil {
		return fmt.Errorf("finding the programs: %w", err)
	}
	if o.Manifests == "" {
		o.Manifests = filepath.Join(filepath.Dir(o.Bin), "deploy")
	}
	return nil
}

// untilClosed returns a context that ends with the input. Whoever started this program holds the other end of it, so
// the stack goes with its starter even when that is killed with SIGKILL.
func untilClosed(ctx context.Context, input io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, input) // an unreadable input means the same as a closed one
	}()
	return ctx
}
