package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"hayloft.dev/pkg/words"
)

// agents looks whether one agent lives on each node that has volumes.
func agents(f *Facts) []Finding {
	out := f.unread("leases", "Longhorn's volumes")
	if !f.known("leases") {
		return out
	}
	alive, silent := map[string][]string{}, map[string]bool{} // node -> sessions; node
	for i := range f.Sessions {
		b := &f.Sessions[i]
		if !b.Beats {
			silent[b.Node()] = true
			continue
		}
		alive[b.Node()] = append(alive[b.Node()], b.Holder())
		out = append(out, f.clock("the agent on "+b.Node(), b.Ahead)...)
	}
	volumes := map[string]int{} // node -> attached volumes
	for i := range f.Volumes {
		if node := f.Volumes[i].Status.CurrentNodeID; node != "" {
			volumes[node]++
		}
	}
	const look = "look at the agent's pod on that node and its log"
	for _, node := range sorted(volumes) {
		if len(alive[node]) == 0 {
			out = append(out, Finding{
				Level: Problem, What: "no agent lives on " + node,
				Why: fmt.Sprintf("%s attached there; agents of other nodes steer their engines meanwhile, if there are any", words.Count(volumes[node], "volume")+words.Verb(volumes[node], " is", " are")), Do: look,
			})
		}
	}
	for _, node := range sorted(silent) {
		if len(alive[node]) == 0 && volumes[node] == 0 {
			out = append(out, Finding{
				Level: Warning, What: "the agent on " + node + " does not renew its session any more",
				Why: "it has stopped without a word, or cannot reach the API server", Do: look + "; if the node is gone, its lease is removed within minutes",
			})
		}
	}
	for _, node := range sorted(alive) {
		if s := alive[node]; len(s) > 1 {
			slices.Sort(s)
			out = append(out, Finding{
				Level: Warning, What: fmt.Sprintf("%s of agents on %s: %s", words.Count(len(s), "session"), node, strings.Join(s, ", ")),
				Why: "one agent to a node is enough; jobs go to either", Do: "look which pods run there: an old one may not have ended yet",
			})
		}
	}
	if len(alive) == 0 {
		out = append(out, Finding{
			Level: Problem, What: "no agent lives", Why: "no backup, snapshot or restore can be made", Do: "look at the agents' pods and logs, or name their namespace with --system-namespace",
		})
	}
	return out
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
