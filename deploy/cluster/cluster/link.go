package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"hayloft.dev/deploy/cluster/machine"
)

// Link connects a node of the running cluster to the network or cuts it off, with all its pods.
func Link(ctx context.Context, dir, node string, up bool) error {
	about, err := Describe(dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(about.Nodes, func(m MachineInfo) bool { return m.Name == node }) {
		return fmt.Errorf("there is no node %q", node)
	}
	state := "down"
	if up {
		state = "up"
	}
	command := machine.EnterNetwork(about.Control.PID, "ip", "link", "set", node, state)
	if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("setting the link of %s %s: %w: %s", node, state, err, strings.TrimSpace(string(out)))
	}
	return nil
}
