package quiesce

import (
	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Own is what the agent of a guest's own node alone can do, since the pauser is
// beside it.
type Own string

// What may be asked of that agent.
const (
	OwnPause Own = "pause it"
	OwnHooks Own = "run its hooks"
)

// Elsewhere names the node on which a guest runs when the agent there alone can do
// what its cut must not be without, and says what that is; "": this agent can cut
// as well as any other.
func (q *Guests) Elsewhere(g v1alpha1.CutGuest, found Guest) (node string, own Own) {
	if q.Pauser == nil {
		return "", "" // nor has any other: all are given the same
	}
	return elsewhere(g, found, q.Pauser.Node)
}

func elsewhere(g v1alpha1.CutGuest, found Guest, here string) (node string, own Own) {
	switch {
	case !found.Running || found.Node == "" || found.Node == here || g.Policy == v1alpha1.QuiesceNever:
		return "", ""
	case g.Policy == v1alpha1.QuiesceRequired && g.Method == v1alpha1.QuiescePause:
		return found.Node, OwnPause
	case must(found.Hooks.Before), must(found.Hooks.After):
		return found.Node, OwnHooks
	}
	return "", ""
}

func must(h *hooks.Hook) bool { return h != nil && h.Must }
