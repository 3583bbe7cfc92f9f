package metrics

import "context"

var (
	agentAlive = define(Metric{
		Name: "hayloft_node_agent_alive", Kind: Gauge, By: Leader, Labels: []string{"node"},
		Help: "1 if an agent's session on the node is alive, else 0. Nodes are those with a session or with an attached volume.",
	})
	nodeVolumes = define(Metric{
		Name: "hayloft_node_volumes", Kind: Gauge, By: Leader, Labels: []string{"node"},
		Help: "Longhorn volumes that are attached to the node.",
	})
	leasesHeld = define(Metric{
		Name: "hayloft_volume_leases_held", Kind: Gauge, By: Leader, Labels: []string{"node"},
		Help: "Volume leases that sessions of the node hold.",
	})
)

type nodeCollector struct{ objects Objects }

func (c *nodeCollector) Collect(ctx context.Context, s *Samples) error {
	nodes, err := c.objects.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(nodes) {
		n, l := nodes[name], by("node", name)
		s.flag(agentAlive, n.Alive, l)
		s.set(nodeVolumes, float64(n.Volumes), l)
		s.set(leasesHeld, float64(n.Leases), l)
	}
	return nil
}
