package runs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestStartingDeadline(t *testing.T) {
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.StartingDeadlineSeconds = ptr.To(int64(600)) }).at(t0)
	w.at(hour(12).Add(11 * time.Minute))
	require.Empty(t, w.made)
	require.EqualValues(t, 3, w.s.Status.MissedRuns)
	require.Equal(t, []string{"RunsMissed"}, w.events)
	w.at(hour(13).Add(9 * time.Minute)).at(hour(13).Add(10 * time.Minute))
	require.Equal(t, []string{"2026-11-26T13:00:00Z web"}, w.made)
}

// A leader that recorded a run and ended: whoever comes next makes its points if it
// is not too late for them, and does not make up for them else.
func TestStartingDeadlineOfPoints(t *testing.T) {
	for name, c := range map[string]struct {
		later time.Duration
		lost  bool // the point was made, and its record lost
		made  int
		skips int64
	}{
		"in time":  {10 * time.Minute, false, 1, 0},
		"too late": {10*time.Minute + 2*time.Second, false, 0, 1},
		"made":     {30 * time.Minute, true, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.StartingDeadlineSeconds = ptr.To(int64(600)) }).at(t0).at(hour(10))
			w.s.Status = *w.last.Status.DeepCopy() // of the points nothing is recorded
			require.Equal(t, []string{"web"}, w.s.Status.Runs[0].Pending)
			if c.lost {
				w.hidden[w.points[0].Name] = true
			} else {
				w.points = nil
			}
			w.at(hour(10).Add(c.later))
			require.Len(t, w.points, c.made)
			require.Equal(t, c.skips, w.s.Status.SkippedRuns)
			if c.skips > 0 {
				require.True(t, w.asked.Live, "the cache may not show it yet")
				require.Equal(t, []string{"RunSkipped"}, w.events)
				require.Empty(t, w.s.Status.Runs)
				require.Equal(t, hour(10), w.s.Status.LastRun.NominalTime.UTC())
				require.Zero(t, w.s.Status.ConsecutiveFailures)
			}
			w.end("web", v1alpha1.BackupReady).at(hour(11))
			require.Len(t, w.points, c.made+1)
		})
	}
	// What its jitter puts off is not late.
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) {
		s.VM, s.Selector, s.JitterSeconds, s.StartingDeadlineSeconds = "", &metav1.LabelSelector{}, 600, ptr.To(int64(5))
	}).at(t0)
	w.vms = []string{"a", "b", "c", "d", "e"}
	w.at(hour(10))
	for w.last.After > 0 && w.now.Before(hour(10).Add(10*time.Minute)) {
		w.at(w.now.Add(w.last.After))
	}
	require.Len(t, w.made, 5)
	require.Zero(t, w.s.Status.SkippedRuns)
}

// Of a clock that was ahead a schedule is stuck behind what it recorded. A change of
// its times is the word by which it goes on; the clock alone is none.
func TestTheClockWasAhead(t *testing.T) {
	w := newWorld(t).at(t0).run(10, v1alpha1.BackupReady)
	year := hour(10).AddDate(1, 0, 0)
	w.at(year).at(year.Add(time.Minute)).end("web", v1alpha1.BackupReady).at(year.Add(2 * time.Minute))
	require.Len(t, w.made, 2)
	w.at(hour(11)).at(hour(12))
	require.Len(t, w.made, 2)
	require.Equal(t, ReasonClockSetBack, w.condition(v1alpha1.ConditionReady).Reason)
	w.s.Spec.Retention.KeepLast = 5
	w.s.Generation++
	w.at(hour(12).Add(time.Minute))
	require.Equal(t, year, w.s.Status.LastNominalTime.UTC())
	w.s.Spec.Cron = "5 * * * *"
	w.s.Generation++
	w.at(hour(12).Add(10 * time.Minute))
	require.Equal(t, metav1.ConditionTrue, w.condition(v1alpha1.ConditionReady).Status)
	require.Equal(t, hour(13).Add(5*time.Minute), w.s.Status.NextTime.UTC())
	require.Len(t, w.made, 2, "12:05 was before the change")
	w.at(hour(13).Add(5 * time.Minute))
	require.Equal(t, "2026-11-26T13:05:00Z web", w.made[2])
}

func TestSecondsWithinTheDeadline(t *testing.T) {
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) {
		s.Cron, s.StartingDeadlineSeconds = "@every 1s", ptr.To(int64(3))
		s.SpacingOverride = &v1alpha1.SpacingOverride{Reason: "a test"}
	}).at(t0)
	now := t0.Add(5*time.Second + 100*time.Millisecond)
	w.at(now) // no leader for five seconds
	require.EqualValues(t, 2, w.s.Status.MissedRuns, "those of the first two seconds are too late")
	require.Equal(t, t0.Add(3*time.Second), w.s.Status.LastNominalTime.UTC())
	require.NotZero(t, w.last.After, "more are left")
	w.end("web", v1alpha1.BackupReady).at(now).end("web", v1alpha1.BackupReady).at(now)
	require.Zero(t, w.last.After)
	require.Len(t, w.made, 3)
	require.EqualValues(t, 2, w.s.Status.MissedRuns)
	require.Zero(t, w.s.Status.SkippedRuns)
}
