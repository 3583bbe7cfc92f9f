package control

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/refresh"
	"hayloft.dev/pkg/api/v1alpha1"
)

func TestTuningOf(t *testing.T) {
	require.Equal(t, Tuning{MaxJobsPerNode: 8, TargetWorkers: 8, ProbeFloor: time.Minute, StatusEvery: 2 * time.Second, RefreshFloor: time.Minute}, TuningOf(Options{}))
	require.Equal(t, 3, TuningOf(Options{MaxJobsPerNode: 3}).MaxJobsPerNode)
}

// The floor under looks through a target holds from its next look on, for the pace
// as for what would call them a loop.
func TestTheRefreshFloorIsTuned(t *testing.T) {
	o := Options{Refresh: refresh.DefaultBounds()}
	c := &Controller{Options: o}
	tuned := TuningOf(o)
	c.tuned.Store(&tuned)
	r := newRefresher(c)
	target := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{UID: "t"}, Spec: v1alpha1.BackupTargetSpec{Refresh: &v1alpha1.TargetRefresh{Interval: "1s"}}}
	for _, floor := range []time.Duration{time.Minute, 10 * time.Minute, 20 * time.Second} {
		tuned.RefreshFloor = floor
		e := r.get(target, time.Now())
		require.Equal(t, floor, e.pace.Next(time.Now()).Interval)
		require.Equal(t, floor, e.begins.Every)
	}
}
