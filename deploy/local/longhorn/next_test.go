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
