package longhorn

import "slices"

// use is a node's disk: what it holds and what replicas were promised, in bytes.
type use struct {
	Node                string
	Capacity, Scheduled int64
}

// place finds nodes for a volume's replicas: each on a node of its own, on the emptiest ones first, and none where its
// full size does not fit. Those that find no node are missing from the answer. Its rules are those of Longhorn's
// scheduler with soft anti-affinity off and no over-provisioning, without zones and tags.
func place(replicas int, size int64, taken []string, nodes []use) []string {
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b use) int {
		switch {
		case a.Scheduled < b.Scheduled:
			return -1
		case a.Scheduled > b.Scheduled:
			return 1
		}
		return 0
	})
	var out []string
	for _, n := range nodes {
		if len(out) == replicas {
			break
		}
		if slices.Contains(taken, n.Node) || n.Scheduled+size > n.Capacity {
			continue
		}
		out = append(out, n.Node)
	}
	return out
}
