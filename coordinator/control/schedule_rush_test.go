package control_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestLeadersChangeWhileManyFireAtOnce: the points of many runs are made before these
// are recorded. Whenever the leader ends in between, each nominal time has one point or
// was counted as missed or skipped, also of those whose points retention has removed.
func TestLeadersChangeWhileManyFireAtOnce(t *testing.T) {
	t.Parallel()
	const crowd, every, changes = 24, 3 * time.Second, 4
	w := newWorld(t)
	session, _ := w.session("n1")
	w.agent(session)
	for i := range crowd {
		w.vm(fmt.Sprintf("vm-%d", i))
	}
	late := w.recordedLate()
	all := make([]*v1alpha1.VMSchedule, crowd)
	var making errgroup.Group // within a second or two, so that they fire together
	for i := range all {
		making.Go(func() error {
			s := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: fmt.Sprintf("of-%d", i)}}
			s.Spec = v1alpha1.VMScheduleSpec{
				Cron: "@every " + every.String(), VM: fmt.Sprintf("vm-%d", i), Type: v1alpha1.TypeSnapshot, MaxFailures: 2,
				Retention: v1alpha1.Retention{KeepLast: 3}, SpacingOverride: &v1alpha1.SpacingOverride{Reason: "a test"},
			}
			all[i] = s
			return w.client.Create(w.ctx, s)
		})
	}
	require.NoError(t, making.Wait())
	points := make([]*recorded, crowd)
	made := func() (n int) {
		for _, p := range points {
			p.each(func(time.Time, int) { n++ })
		}
		return n
	}
	for i, s := range all {
		points[i] = w.record(s)
	}
	// On a busy machine a rush takes long: only one that stands still is to fail.
	seen := 0
	w.meanwhile = func() bool {
		n := made()
		grown := n > seen
		seen = n
		return grown
	}
	for k := range changes {
		_, stop := w.start(fmt.Sprintf("leader-%d", k))
		before := made()
		// At another moment of a rush each.
		w.eventually("this leader makes points", func() bool { return made() > before+crowd*k/changes })
		stop()
	}
	w.start("last")
	before := made()
	w.eventually("the last leader makes points", func() bool { return made() > before })
	for _, s := range all {
		require.NoError(t, w.client.Patch(w.ctx, s, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`))))
	}
	for i, s := range all {
		w.eventually("it is suspended, and what ran has ended", func() bool {
			w.refresh(s)
			return suspended(s) != "" && len(s.Status.Runs) == 0
		})
		require.Equal(t, v1alpha1.SuspendedUser, suspended(s), "no run failed: %v", s.Status.LastRun)
		times := s.Status.LastNominalTime.Sub(s.CreationTimestamp.Time) / every
		accounted := func() (n int64) {
			points[i].each(func(at time.Time, points int) {
				require.Equal(t, 1, points, "points of %s of %s", s.Name, at)
				require.False(t, at.After(s.Status.LastNominalTime.Time), "the point of %s is recorded", at)
				n++
			})
			return n + s.Status.MissedRuns + s.Status.SkippedRuns
		}
		w.eventually("the watch has told of all points", func() bool { return accounted() >= int64(times) })
		require.EqualValues(t, times, accounted())
	}
	require.Positive(t, late.Load(), "runs that were recorded after their point was made")
}

// recordedLate counts the runs that were recorded with nothing left to be made.
func (w *world) recordedLate() *atomic.Int64 {
	w.t.Helper()
	c, err := client.NewWithWatch(w.config, client.Options{Scheme: w.client.Scheme()})
	require.NoError(w.t, err)
	watched, err := c.Watch(w.ctx, &v1alpha1.VMScheduleList{}, client.InNamespace(w.ns))
	require.NoError(w.t, err)
	w.t.Cleanup(watched.Stop)
	var n atomic.Int64
	go func() {
		begun := map[string]bool{}
		for e := range watched.ResultChan() {
			s, ok := e.Object.(*v1alpha1.VMSchedule)
			if !ok {
				continue
			}
			for _, r := range s.Status.Runs {
				run := s.Name + " " + r.NominalTime.String()
				if !begun[run] && len(r.Pending) == 0 {
					n.Add(1)
				}
				begun[run] = true
			}
		}
	}()
	return &n
}
