package quiesce

import (
	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Own is what the agent of one node alone can do, since the pauser is beside it:
// that on which the guest runs, or on which something else has its disks.
type Own string

// What may be asked of that agent.
const (
	OwnPause Own = "pause it"
	OwnHooks Own = "run its hooks"
	// OwnOthers is of what has the disks of a VM that is stopped.
	OwnOthers Own = "pause that"
)

// Elsewhere names the node of which the agent alone can do what a guest's cut must
// not be without, and says what that is; "": this agent can cut as well as any other.
func (q *Guests) Elsewhere(g v1alpha1.CutGuest, found Guest) (node string, own Own) {
	if q.Pauser == nil {
		return "", "" // nor has any other: all are given the same
	}
	return elsewhere(g, found, q.Pauser.Node)
}

func elsewhere(g v1alpha1.CutGuest, found Guest, here string) (node string, own Own) {
	wanted := g.Policy == v1alpha1.QuiesceRequired && g.Method == v1alpha1.QuiescePause
	switch {
	case !found.Running && wanted && len(found.UsedOn) == 1 && found.UsedOn[0] != here:
		return found.UsedOn[0], OwnOthers
	case !found.Running || found.Node == "" || found.Node == here || g.Policy == v1alpha1.QuiesceNever:
		return "", ""
	case wanted:
		return found.Node, OwnPause
	case must(found.Hooks.Before), must(found.Hooks.After):
		return found.Node, OwnHooks
	}
	return "", ""
}

func must(h *hooks.Hook) bool { return h != nil && h.Must }
