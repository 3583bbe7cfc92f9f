package quiesce

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
)

// TestElsewhere: only what a cut must not be without is worth waiting for.
func TestElsewhere(t *testing.T) {
	const here, there = "node-1", "node-2"
	away := Guest{Running: true, Node: there}
	near, stopped, nowhere, hooked, after, may := away, away, away, away, away, away
	near.Node = here
	stopped.Running = false
	nowhere.Node = ""
	hooked.Hooks.Before = &hooks.Hook{Must: true}
	after.Hooks.After = &hooks.Hook{Must: true}
	used, usedHere, spread := stopped, stopped, stopped
	used.UsedOn, usedHere.UsedOn, spread.UsedOn = []string{there}, []string{here}, []string{there, here}
	may.Hooks = hooks.Hooks{Before: &hooks.Hook{}, After: &hooks.Hook{}}
	for name, c := range map[string]struct {
		policy v1alpha1.QuiescePolicy
		method v1alpha1.QuiesceMethod
		found  Guest
		node   string
		own    Own
	}{
		"a pause is required":             {"Required", "Pause", away, there, OwnPause},
		"a pause is required, here":       {"Required", "Pause", near, "", ""},
		"a pause is required, stopped":    {"Required", "Pause", stopped, "", ""},
		"a pause is required, not placed": {"Required", "Pause", nowhere, "", ""},
		"a pause is wanted":               {"BestEffort", "Pause", away, "", ""},
		"a freeze is required":            {"Required", "Freeze", away, "", ""}, // KubeVirt is asked by anybody
		"required by itself":              {"Required", "Auto", away, "", ""},
		"a hook before must end well":     {"BestEffort", "", hooked, there, OwnHooks},
		"a hook afterwards must end well": {"BestEffort", "Freeze", after, there, OwnHooks},
		"hooks that may fail":             {"BestEffort", "", may, "", ""},
		"hooks where nobody is asked":     {"Never", "", hooked, "", ""},
		"what has its disks is there":     {"Required", "Pause", used, there, OwnOthers},
		"what has its disks is here":      {"Required", "Pause", usedHere, "", ""},
		"what has its disks is spread":    {"Required", "Pause", spread, "", ""}, // no agent can pause all of it
		"what has its disks, if it may":   {"BestEffort", "Pause", used, "", ""},
		"both":                            {"Required", "Pause", hooked, there, OwnPause},
	} {
		t.Run(name, func(t *testing.T) {
			node, own := elsewhere(v1alpha1.CutGuest{Policy: c.policy, Method: c.method}, c.found, here)
			require.Equal(t, c.node, node)
			require.Equal(t, c.own, own)
		})
	}
	node, _ := (&Guests{}).Elsewhere(v1alpha1.CutGuest{Policy: "Required", Method: "Pause"}, away)
	require.Empty(t, node, "without a pauser nobody is waited for")
}
