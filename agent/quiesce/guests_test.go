package quiesce

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

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
