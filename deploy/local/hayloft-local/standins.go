package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"hayloft.dev/deploy/local/kubevirt"
	"hayloft.dev/deploy/local/longhorn"
	"hayloft.dev/deploy/local/stack"
)

// standIns are what takes the place of longhorn-manager and of KubeVirt, in the order in which they are needed. Where the
// real longhorn-manager runs only its provisioner is stood in for.
func standIns(bin string, isLonghornReal bool) ([]stack.StandIn, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program, which is also the guest: %w", err)
	}
	runLonghorn := longhorn.Run
	if isLonghornReal {
		runLonghorn = longhorn.Provision
	}
	return []stack.StandIn{
		{Name: "longhorn", Run: func(ctx context.Context, env stack.Env, ready func()) error {
			return runLonghorn(ctx, longhorn.Options{
				Config: env.Config, Procs: env.Procs, Log: env.Log, OnReady: ready,
				EngineBinary: filepath.Join(bin, "local", "longhorn"),
				Dir:          env.NodesDir,
				Nodes:        longhornNodes(env.Nodes),
				Namespace:    env.LonghornNamespace,
				RealTiming:   env.RealTiming,
			})
		}},
		{Name: "kubevirt", Run: func(ctx context.Context, env stack.Env, ready func()) error {
			return kubevirt.Run(ctx, kubevirt.Options{
				Config: env.Config, Procs: env.Procs, Log: env.Log, OnReady: ready,
				Self:              self,
				Dir:               env.Dir,
				Nodes:             nodeNames(env.Nodes),
				LonghornNamespace: env.LonghornNamespace,
				Address:           env.Address,
			})
		}},
	}, nil
}

func longhornNodes(nodes []stack.Node) []longhorn.Node {
	all := make([]longhorn.Node, len(nodes))
	for i, n := range nodes {
		all[i] = longhorn.Node{Name: n.Name, IP: n.IP}
	}
	return all
}

func nodeNames(nodes []stack.Node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return names
}
