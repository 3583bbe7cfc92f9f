package quiesce

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/agent/pauser/wire"
	"hayloft.dev/pkg/api/v1alpha1"
)

// TestWhenOthersArePaused: whenever the guest would be, had it no agent.
func TestWhenOthersArePaused(t *testing.T) {
	for policy, methods := range map[v1alpha1.QuiescePolicy]map[v1alpha1.QuiesceMethod]bool{
		"BestEffort": {"": true, "Auto": true, "Freeze": false, "Pause": true},
		"Required":   {"": false, "Auto": false, "Freeze": false, "Pause": true},
		"Never":      {"": false, "Auto": false, "Freeze": false, "Pause": false},
	} {
		for method, want := range methods {
			require.Equal(t, want, pausesOthers(v1alpha1.CutGuest{Policy: policy, Method: method}), "%s %s", policy, method)
		}
	}
}

func TestBeside(t *testing.T) {
	const here, there = "node-1", "node-2"
	root, data := use{volume: "v-root", persistent: "pv-root"}, use{volume: "v-data", persistent: "pv-data"}
	on := func(u use, nodes ...string) use { u.nodes = nodes; return u }
	pod := map[types.UID]string{"pod": here}
	frozen, paused := Guest{Running: true, Node: here, Pods: pod, Way: ByFreeze}, Guest{Running: true, Node: here, Pods: pod, Way: ByPause}
	afar, migrating, stopped := frozen, paused, Guest{}
	afar.Node, afar.Pods = there, map[types.UID]string{"pod": there}
	migrating.Pods = map[types.UID]string{"pod": here, "next": there}
	both := []string{"pv-root", "pv-data"}
	for name, c := range map[string]struct {
		found     Guest
		uses      []use
		beside    []string
		unreached string
		usedOn    []string
		way       Way
		why       string
	}{
		"detached":                             {stopped, []use{root, data}, nil, "", nil, "", ""},
		"a stopped VM's disk is used here":     {stopped, []use{root, on(data, here)}, both[1:], "", []string{here}, "", ""},
		"one is used on another node":          {stopped, []use{root, on(data, there)}, nil, `volume v-data is attached on node "node-2" for something else`, []string{there}, "", ""},
		"on both":                              {stopped, []use{on(root, here), on(data, there, here)}, both, `"node-2"`, []string{here, there}, "", ""},
		"a frozen VM has them":                 {frozen, []use{on(root, here), on(data, here)}, both, "", nil, ByFreeze, ""},
		"a frozen VM on another node":          {afar, []use{on(root, there), on(data, there)}, nil, "", nil, ByFreeze, ""},
		"the same, and a disk is used here":    {afar, []use{on(root, there), on(data, here)}, both[1:], "", []string{here}, ByFreeze, ""},
		"others on another node, too":          {frozen, []use{on(root, here, there), on(data, here)}, both, `volume v-root is attached on node "node-2"`, []string{there}, ByFreeze, ""},
		"a VM that would be paused":            {paused, []use{on(root, here), on(data, here)}, both, "", nil, ByPause, ""},
		"the same, with others elsewhere":      {paused, []use{on(root, here), on(data, here, there)}, nil, "", []string{there}, "", `"node-2"`},
		"a VM that comes to another node":      {migrating, []use{on(root, here, there), on(data, here, there)}, both, "", nil, ByPause, ""},
		"Longhorn does not know the volume":    {frozen, []use{on(root, here), {volume: "v-data", nodes: []string{here}}}, both[:1], "of which PersistentVolume volume v-data is", nil, ByFreeze, ""},
		"the same, and the VM would be paused": {paused, []use{{volume: "v-data", nodes: []string{here}}}, nil, "", nil, "", "of which PersistentVolume volume v-data is"},
		"the same, and nobody has it":          {stopped, []use{{volume: "v-data"}}, nil, "", nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := beside(c.found, here, c.uses)
			require.Equal(t, c.beside, got.Beside)
			require.Equal(t, c.usedOn, got.UsedOn)
			require.Equal(t, c.way, got.Way)
			require.Contains(t, got.Unreached, c.unreached)
			require.Equal(t, c.unreached == "", got.Unreached == "")
			require.Contains(t, got.Why, c.why)
			require.Equal(t, c.why == "", got.Why == "")
		})
	}
}

// TestUsers: the VM's own pods are never among those that have its disks beside it.
func TestUsers(t *testing.T) {
	g := v1alpha1.CutGuest{Namespace: "shop", VM: "web"}
	require.Nil(t, users(g, Guest{Pods: map[types.UID]string{"pod": "node-1"}}))
	require.Equal(t, &wire.Users{Namespace: "shop", Volumes: []string{"pv"}, Except: []string{"pod"}},
		users(g, Guest{Pods: map[types.UID]string{"pod": "node-1"}, Beside: []string{"pv"}}))
}
