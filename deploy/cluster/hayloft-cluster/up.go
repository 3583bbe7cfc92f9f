package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"hayloft.dev/deploy/cluster/cluster"
)

func upCommand() *cobra.Command {
	var o cluster.Options
	var withParent bool
	cmd := &cobra.Command{
		Use:   "up --dir DIR [--images ARCHIVE]... [--crds PATH]...",
		Short: "bring a cluster up and keep it until ctrl-c or `down`",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if withParent {
				ctx = untilClosed(ctx, cmd.InOrStdin())
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			if o.Bin == "" {
				o.Bin = filepath.Dir(filepath.Dir(self))
			}
			for _, paths := range [][]string{o.Images, o.Definitions} {
				for i := range paths {
					if paths[i], err = filepath.Abs(paths[i]); err != nil {
						return err
					}
				}
			}
			o.Images = append([]string{filepath.Join(o.Bin, "cluster", "images", "hayloft-images.tar")}, o.Images...)
			o.Holder, o.Out = []string{self, holdCommand}, cmd.OutOrStdout()
			return cluster.Up(ctx, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "the cluster's folder; what an earlier cluster left there is removed first")
	f.StringVar(&o.Bin, "bin", "", "folder with local/kube, cluster/kube-node and cluster/images (default: above this program's)")
	f.StringSliceVar(&o.Images, "images", nil, "archives of images that every node gets, besides those in cluster/images")
	f.StringSliceVar(&o.Definitions, "crds", nil, "files or folders of CustomResourceDefinitions to install")
	f.BoolVar(&withParent, "with-parent", false, "end when standard input is closed")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	return cmd
}

// untilClosed returns a context that ends with the input. Whoever started this program holds the other end of it, so
// the cluster goes with its starter even when that is killed with SIGKILL.
func untilClosed(ctx context.Context, input io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, input) // an unreadable input means the same as a closed one
	}()
	return ctx
}
