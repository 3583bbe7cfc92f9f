package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hayloft.dev/deploy/local/stack"
)

func besideCommand() *cobra.Command {
	var o stack.Options
	var b stack.Beside
	var nodes []string
	var withParent, isLonghornReal bool
	cmd := &cobra.Command{
		Use:   "beside --dir DIR --kubeconfig FILE --address IP --node NAME=IP...",
		Short: "run S3 and the stand-ins beside a cluster that exists, such as deploy/cluster's",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if withParent {
				ctx = untilClosed(ctx, cmd.InOrStdin())
			}
			for _, node := range nodes {
				name, ip, found := strings.Cut(node, "=")
				if !found {
					return fmt.Errorf("--node %s: write NAME=IP", node)
				}
				b.Nodes = append(b.Nodes, stack.Node{Name: name, IP: ip})
			}
			if err := defaultPaths(&o); err != nil {
				return err
			}
			o.Beside, o.Out = &b, cmd.OutOrStdout()
			standIns, err := standIns(o.Bin, isLonghornReal)
			if err != nil {
				return err
			}
			o.StandIns = standIns
			return stack.Up(ctx, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "folder for disks, objects and logs; what an earlier run left there is removed first")
	f.StringVar(&o.Bin, "bin", "", "folder with local/ (default: above this program's)")
	f.StringVar(&b.Kubeconfig, "kubeconfig", "", "of the cluster's admin")
	f.StringVar(&b.Address, "address", "", "IP address of this machine by which the cluster reaches S3 and KubeVirt's subresources")
	f.StringArrayVar(&nodes, "node", nil, "a node of the cluster and the IP address of this machine for its engines, NAME=IP")
	f.BoolVar(&isLonghornReal, "real-longhorn", false, "the cluster has the real longhorn-manager: of it only the provisioner is stood in for")
	f.BoolVar(&o.RealTiming, "real-timing", false, "attach and detach volumes as slowly as the real Longhorn")
	f.BoolVar(&withParent, "with-parent", false, "end when standard input is closed")
	for _, name := range []string{"dir", "kubeconfig", "address", "node"} {
		_ = cmd.MarkFlagRequired(name) // fails only for a flag that does not exist
	}
	return cmd
}
