package quiesce

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
)

func TestChoose(t *testing.T) {
	const here = "node-1"
	bare := Guest{Running: true, Node: here, Pods: map[types.UID]string{"pod": here}}
	agent, away, migrating, podless := bare, bare, bare, bare
	agent.Agent = true
	away.Node = "node-2"
	migrating.Pods = map[types.UID]string{"pod": here, "next": "node-2"}
	podless.Pods = nil
	for name, c := range map[string]struct {
		policy v1alpha1.QuiescePolicy
		method v1alpha1.QuiesceMethod
		found  Guest
		node   string // where containers can be paused
		want   Way
		says   string
	}{
		"agent":                          {"BestEffort", "", agent, here, ByFreeze, ""},
		"agent, no pauser":               {"Required", "Auto", agent, "", ByFreeze, ""},
		"agent, pause wanted":            {"BestEffort", "Pause", agent, here, ByPause, ""},
		"agent, pause wanted, no pauser": {"Required", "Pause", agent, "", "", "--pauser-socket"},
		"no agent":                       {"BestEffort", "Auto", bare, here, ByPause, ""},
		"no agent, no pauser":            {"BestEffort", "", bare, "", "", ""},
		"no agent, required":             {"Required", "", bare, here, "", "spec.quiesce.method Pause"},
		"no agent, required, no pauser":  {"Required", "", bare, "", "", ""},
		"no agent, freeze wanted":        {"BestEffort", "Freeze", bare, here, "", ""},
		"no agent, pause required":       {"Required", "Pause", bare, here, ByPause, ""},
		"never":                          {"Never", "Pause", agent, here, "", ""},
		"stopped":                        {"Required", "Pause", Guest{Node: here}, here, "", ""},
		"on another node":                {"BestEffort", "", away, here, "", `runs on node "node-2"`},
		"migrating":                      {"BestEffort", "", migrating, here, ByPause, ""},
		"no pod":                         {"BestEffort", "", podless, here, "", "names no pod"},
	} {
		t.Run(name, func(t *testing.T) {
			way, why := choose(v1alpha1.CutGuest{Policy: c.policy, Method: c.method}, c.found, c.node)
			require.Equal(t, c.want, way)
			require.Contains(t, why, c.says)
			require.Equal(t, c.says == "", why == "")
		})
	}
	require.Equal(t, []types.UID{"pod"}, podsOn(migrating, here))
}

// TestHooksThatCannotBeRun says so of each that is declared.
func TestHooksThatCannotBeRun(t *testing.T) {
	const here = "node-1"
	before := &hooks.Hook{Command: []string{"flush"}}
	for name, c := range map[string]struct {
		found Guest
		node  string
		says  string // "": it can
	}{
		"here":        {Guest{Node: here, Pods: map[types.UID]string{"pod": here, "next": "node-2"}}, here, ""},
		"no pauser":   {Guest{Node: here, Pods: map[types.UID]string{"pod": here}}, "", "--pauser-socket"},
		"elsewhere":   {Guest{Node: "node-2", Pods: map[types.UID]string{"pod": "node-2"}}, here, `the VM runs on node "node-2"`},
		"no pod":      {Guest{Node: here}, here, "names 0 pods"},
		"several":     {Guest{Node: here, Pods: map[types.UID]string{"a": here, "b": here}}, here, "names 2 pods"},
		"no instance": {Guest{}, here, `the VM runs on node ""`},
	} {
		t.Run(name, func(t *testing.T) {
			err := cannotHook(c.found, c.node)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
			ran, after := notRun(hooks.Hooks{Before: before}, err)
			require.Equal(t, hooks.Ran{Declared: true, Error: err.Error()}, ran)
			require.Equal(t, hooks.Ran{}, after(t.Context()))
		})
	}
}
