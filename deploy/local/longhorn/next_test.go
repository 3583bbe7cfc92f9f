package longhorn

import (
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"

	"hayloft.dev/deploy/local/longhorn/instance"
)

func TestNext(t *testing.T) {
	const faulted = lh.VolumeRobustnessFaulted
	for name, test := range map[string]struct {
		facts facts
		want  action
	}{
		"new":                          {facts{}, settle},
		"made":                         {facts{State: lh.VolumeStateCreating, Wanted: "a"}, settle},
		"detached":                     {facts{State: lh.VolumeStateDetached}, nothing},
		"wanted":                       {facts{State: lh.VolumeStateDetached, Wanted: "a", Schedulable: true}, open},
		"wanted and without replicas":  {facts{State: lh.VolumeStateDetached, Wanted: "a"}, nothing},
		"detached with processes":      {facts{State: lh.VolumeStateDetached, Stray: true}, closing},
		"detached after a fault":       {facts{State: lh.VolumeStateDetached, Robustness: faulted, Wanted: "a", Schedulable: true}, recovery},
		"a try that failed goes on":    {facts{State: lh.VolumeStateAttaching, Wanted: "a"}, open},
		"not wanted while it attaches": {facts{State: lh.VolumeStateAttaching}, closing},
		"attached":                     {facts{State: lh.VolumeStateAttached, Wanted: "a", Current: "a", Engine: instance.Running}, nothing},
		"not wanted":                   {facts{State: lh.VolumeStateAttached, Current: "a", Engine: instance.Running}, closing},
		"wanted elsewhere":             {facts{State: lh.VolumeStateAttached, Wanted: "b", Current: "a", Engine: instance.Running}, closing},
		"engine died":                  {facts{State: lh.VolumeStateAttached, Wanted: "a", Current: "a", Engine: instance.Ended}, fault},
		"engine of a former stack":     {facts{State: lh.VolumeStateAttached, Wanted: "a", Current: "a", Engine: instance.Absent}, fault},
		"no replica left":              {facts{State: lh.VolumeStateAttached, Wanted: "a", Current: "a", Engine: instance.Running, AllFailed: true}, fault},
		"faulted":                      {facts{State: lh.VolumeStateAttached, Robustness: faulted, Wanted: "a", Current: "a", Engine: instance.Ended}, closing},
		"detaching":                    {facts{State: lh.VolumeStateDetaching, Wanted: "b"}, closing},
		"deleting":                     {facts{State: lh.VolumeStateDeleting}, nothing},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, next(test.facts), "have %s", next(test.facts))
		})
	}
}

func TestNextOfMigration(t *testing.T) {
	for name, test := range map[string]struct {
		facts migrationFacts
		want  migrationAction
	}{
		"none":                            {migrationFacts{Usable: true}, nothingToMigrate},
		"wanted":                          {migrationFacts{Wanted: "b", Usable: true}, begin},
		"goes on after a try":             {migrationFacts{Wanted: "b", Shown: "b", Usable: true}, begin},
		"not during a rebuild":            {migrationFacts{Wanted: "b", Usable: true, Rebuilding: true}, nothingToMigrate},
		"not of what is not attached":     {migrationFacts{Wanted: "b"}, nothingToMigrate},
		"nor while it breaks":             {migrationFacts{Wanted: "b", Shown: "b", Left: true, Second: "b"}, nothingToMigrate},
		"runs":                            {migrationFacts{Wanted: "b", Shown: "b", Usable: true, Left: true, Second: "b", Whole: true}, nothingToMigrate},
		"the second engine is broken":     {migrationFacts{Wanted: "b", Shown: "b", Usable: true, Left: true, Second: "b"}, revert},
		"it is on another node":           {migrationFacts{Wanted: "b", Shown: "b", Usable: true, Left: true, Second: "c", Whole: true}, revert},
		"confirmed or rolled back":        {migrationFacts{Shown: "b", Usable: true, Left: true, Second: "b", Whole: true}, finish},
		"rolled back before there is one": {migrationFacts{Shown: "b", Usable: true}, finish},
		"faulted":                         {migrationFacts{Shown: "b", Left: true, Second: "b"}, finish},
		"left by a former stand-in":       {migrationFacts{Left: true}, finish},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, nextOfMigration(test.facts), "have %s", nextOfMigration(test.facts))
		})
	}
	require.Equal(t, "v-e-1", nextEngineName("v", "v-e-0"))
	require.Equal(t, "v-e-10", nextEngineName("v", "v-e-9"))
}

func TestArrange(t *testing.T) {
	var one, two lh.Engine
	one.Name, two.Name, two.Spec.Active = "e-0", "e-1", true
	replicas := make([]lh.Replica, 3)
	for i, engine := range []string{"e-1", "e-0", "e-gone"} {
		replicas[i].Name, replicas[i].Spec.EngineName = "r-"+engine, engine
	}
	v := &volume{}
	v.arrange([]lh.Engine{one, two}, replicas)
	require.Equal(t, "e-1", v.engine.Name, "the active one has the volume")
	require.Equal(t, "r-e-1", v.replicas[0].Name)
	require.Equal(t, "r-e-0", v.extras[0].replicas[0].Name)
	require.Equal(t, "r-e-gone", v.orphans[0].Name)
}

func TestPlace(t *testing.T) {
	nodes := []use{{"a", 100, 50}, {"b", 100, 0}, {"c", 100, 90}}
	require.Equal(t, []string{"b", "a"}, place(2, 50, nil, nodes), "the emptiest first, as far as it fits")
	require.Equal(t, []string{"b", "a"}, place(3, 50, nil, nodes), "each on a node of its own")
	require.Equal(t, []string{"b"}, place(1, 10, nil, nodes))
	require.Equal(t, []string{"a"}, place(1, 10, []string{"b"}, nodes))
	require.Empty(t, place(2, 101, nil, nodes))
}

func TestLastRestored(t *testing.T) {
	done := &lh.RestoreStatus{LastRestored: "x"}
	for name, test := range map[string]struct {
		statuses map[string]*lh.RestoreStatus
		want     string
	}{
		"none":             {nil, ""},
		"all":              {map[string]*lh.RestoreStatus{"a": done, "b": done}, "x"},
		"one is not ready": {map[string]*lh.RestoreStatus{"a": done, "b": {IsRestoring: true, LastRestored: "x"}}, ""},
		"one failed":       {map[string]*lh.RestoreStatus{"a": done, "b": {Error: "no", LastRestored: "x"}}, ""},
		"they differ":      {map[string]*lh.RestoreStatus{"a": done, "b": {LastRestored: "y"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := lastRestored(test.statuses)
			require.Equal(t, test.want != "", ok)
			if ok {
				require.Equal(t, test.want, got)
			}
		})
	}
}
