package cluster

import (
	"context"
	"fmt"

	"hayloft.dev/deploy/cluster/machine"
)

// The cluster's addresses. They are in networks of its own, so two clusters may have the same ones.
const (
	controlIP    = "10.250.0.1" // of the control plane's machine, on the bridge that all machines are on
	serviceRange = "10.96.0.0/16"
	kubernetesIP = "10.96.0.1" // of the Service kubernetes; there is no kube-proxy, so it is an address of the control plane
	bridge       = "bridge"
	apiPort      = 443 // the Service's, as nothing translates ports
)

// nodePlan is a node and its addresses.
type nodePlan struct {
	name string
	ip   string
	pods string // range of its pods
}

// nodes are the cluster's nodes.
func nodes() []nodePlan {
	all := make([]nodePlan, 2)
	for i := range all {
		all[i] = nodePlan{name: fmt.Sprintf("node-%d", i+1), ip: fmt.Sprintf("10.250.0.%d", 11+i), pods: fmt.Sprintf("10.251.%d.0/24", 1+i)}
	}
	return all
}

// connectControl gives the control plane's machine the bridge.
func connectControl(ctx context.Context, control *machine.Machine) error {
	for _, command := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "address", "add", kubernetesIP + "/32", "dev", "lo"},
		{"ip", "link", "add", bridge, "type", "bridge"},
		{"ip", "address", "add", controlIP + "/24", "dev", bridge},
		{"ip", "link", "set", bridge, "up"},
	} {
		if err := control.RunInNetwork(ctx, command...); err != nil {
			return fmt.Errorf("making the network: %w", err)
		}
	}
	return nil
}

// connectNode puts a node's machine on the bridge, with routes to the other nodes' pods. Its end on the bridge has the
// node's name: who takes that link down cuts the node off.
func connectNode(ctx context.Context, control, node *machine.Machine, plan nodePlan) error {
	pid := fmt.Sprint(node.PID())
	inControl := [][]string{
		{"ip", "link", "add", plan.name, "type", "veth", "peer", "name", "eth0", "netns", pid},
		{"ip", "link", "set", plan.name, "master", bridge, "up"},
		{"ip", "route", "add", plan.pods, "via", plan.ip},
	}
	inNode := [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "address", "add", plan.ip + "/24", "dev", "eth0"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "route", "add", "default", "via", controlIP},
	}
	for _, other := range nodes() {
		if other.name != plan.name {
			inNode = append(inNode, []string{"ip", "route", "add", other.pods, "via", other.ip})
		}
	}
	for _, command := range inControl {
		if err := control.RunInNetwork(ctx, command...); err != nil {
			return fmt.Errorf("connecting %s: %w", plan.name, err)
		}
	}
	for _, command := range inNode {
		if err := node.RunInNetwork(ctx, command...); err != nil {
			return fmt.Errorf("connecting %s: %w", plan.name, err)
		}
	}
	return nil
}
