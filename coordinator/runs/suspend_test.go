package runs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestSuspendedAtTheLimit(t *testing.T) {
	w := newWorld(t).at(t0)
	for h := 10; h < 13; h++ {
		w.run(h, v1alpha1.BackupFailed)
	}
	require.True(t, w.s.Spec.Suspend)
	require.Equal(t, v1alpha1.SuspendedByCoordinator, w.s.Annotations[v1alpha1.AnnotationSuspendedBy])
	require.Contains(t, w.s.Annotations[v1alpha1.AnnotationSuspendReason], "3 runs failed in a row (spec.maxFailures 3), the last one: VMBackup web-20261126-120000-")
	w.at(hour(12).Add(2 * time.Minute))
	c := w.condition(v1alpha1.ConditionSuspended)
	require.Equal(t, metav1.ConditionTrue, c.Status)
	require.Equal(t, v1alpha1.SuspendedMaxFailures, c.Reason)
	require.Contains(t, c.Message, "the target is full")
	require.Equal(t, "Suspended", w.events[len(w.events)-1])
	require.Nil(t, w.last.Timetable)
	require.Nil(t, w.s.Status.NextTime)
	w.at(hour(13)).at(hour(14))
	require.Len(t, w.made, 3)

	w.suspend(false).at(hour(14).Add(30 * time.Minute))
	require.Zero(t, w.s.Status.ConsecutiveFailures)
	require.Empty(t, w.s.Annotations)
	require.Equal(t, v1alpha1.NotSuspended, w.condition(v1alpha1.ConditionSuspended).Reason)
	require.EqualValues(t, 1, w.s.Status.MissedRuns, "13")
	w.at(hour(14).Add(31 * time.Minute))
	require.Equal(t, "2026-11-26T14:00:00Z web", w.made[3], "one catches up")
	w.end("web", v1alpha1.BackupFailed).at(hour(14).Add(32 * time.Minute))
	require.False(t, w.s.Spec.Suspend, "the count began anew")
	require.EqualValues(t, 1, w.s.Status.ConsecutiveFailures)
}

// A user who resumes before the suspension was even noted.
func TestResumedAtOnce(t *testing.T) {
	w := newWorld(t).at(t0)
	for h := 10; h < 13; h++ {
		w.run(h, v1alpha1.BackupFailed)
	}
	require.True(t, w.s.Spec.Suspend)
	w.suspend(false).at(hour(12).Add(2 * time.Minute))
	require.False(t, w.s.Spec.Suspend)
	require.Zero(t, w.s.Status.ConsecutiveFailures)
	require.Empty(t, w.s.Annotations)
}

func TestSuspendedByOthers(t *testing.T) {
	for by, reason := range map[string]string{"": v1alpha1.SuspendedUser, v1alpha1.SuspendedByUpgrade: v1alpha1.SuspendedUpgrade} {
		w := newWorld(t).at(t0).at(hour(10)).suspend(true)
		w.s.Annotations = map[string]string{v1alpha1.AnnotationSuspendedBy: by, "mine": "x"}
		w.at(hour(10).Add(time.Minute))
		require.Equal(t, reason, w.condition(v1alpha1.ConditionSuspended).Reason)
		require.Len(t, w.s.Status.Runs, 1, "what runs goes on")
		w.end("web", v1alpha1.BackupReady).at(hour(10).Add(2 * time.Minute))
		require.Empty(t, w.s.Status.Runs)
		require.NotNil(t, w.s.Status.LastSuccessTime)
		w.at(hour(11))
		require.Len(t, w.made, 1)
	}
}

// What an upgrade cancels is no failure that suspends a schedule afterwards.
func TestCancelledForAnUpgrade(t *testing.T) {
	w := newWorld(t).at(t0).run(10, v1alpha1.BackupFailed).run(11, v1alpha1.BackupFailed).at(hour(12))
	w.suspend(true)
	w.s.Annotations = map[string]string{v1alpha1.AnnotationSuspendedBy: v1alpha1.SuspendedByUpgrade, v1alpha1.AnnotationSuspendReason: "an upgrade"}
	w.end("web", v1alpha1.BackupFailed).at(hour(12).Add(time.Minute)).at(hour(13))
	require.EqualValues(t, 3, w.s.Status.ConsecutiveFailures)
	require.Equal(t, v1alpha1.SuspendedByUpgrade, w.s.Annotations[v1alpha1.AnnotationSuspendedBy])
	w.s.Annotations = nil
	w.suspend(false).at(hour(13).Add(30 * time.Minute)).at(hour(13).Add(31 * time.Minute))
	require.False(t, w.s.Spec.Suspend)
	require.Zero(t, w.s.Status.ConsecutiveFailures)
	require.Equal(t, "2026-11-26T13:00:00Z web", w.made[len(w.made)-1], "one run catches up")
}

// A point that was made, and of which the record was lost to the suspension, or to
// the end of its leader, was not skipped.
func TestSuspendedBeforeTheRecordOfItsPoint(t *testing.T) {
	w := newWorld(t).at(t0).at(hour(10))
	require.Len(t, w.made, 1)
	w.s.Status.Runs[0].Pending, w.s.Status.Runs[0].Points = []string{"web"}, 0
	w.hidden[w.points[0].Name] = true
	w.suspend(true).at(hour(10).Add(time.Second))
	require.True(t, w.asked.Live, "the cache may not show it yet")
	require.Zero(t, w.s.Status.SkippedRuns)
	require.Empty(t, w.s.Status.Runs[0].Pending)
	require.EqualValues(t, 1, w.s.Status.Runs[0].Points)
	w.end("web", v1alpha1.BackupReady).at(hour(10).Add(time.Minute))
	require.Empty(t, w.s.Status.Runs)
	require.EqualValues(t, 1, w.s.Status.LastRun.Ready)
	require.Len(t, w.made, 1)
}

// What a jitter has put off is not begun by a suspended schedule.
func TestSuspendedBeforeItsPoint(t *testing.T) {
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.JitterSeconds = 3600 }).at(t0).at(hour(10))
	require.Empty(t, w.made)
	w.suspend(true).at(hour(10).Add(time.Second))
	require.Empty(t, w.s.Status.Runs)
	require.EqualValues(t, 1, w.s.Status.SkippedRuns)
	w.suspend(false).at(hour(10).Add(50 * time.Minute))
	require.Empty(t, w.made)
}

func TestResumesByItself(t *testing.T) {
	ready := func(status metav1.ConditionStatus, since time.Time) *v1alpha1.BackupTarget {
		return &v1alpha1.BackupTarget{
			ObjectMeta: metav1.ObjectMeta{Name: "s3"},
			Status:     v1alpha1.BackupTargetStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, LastTransitionTime: metav1.NewTime(since)}}},
		}
	}
	back := hour(14).Add(10 * time.Minute)
	for name, c := range map[string]struct {
		wait   *int32
		by     string
		target *v1alpha1.BackupTarget
		want   bool
		held   bool
	}{
		"not asked for":             {nil, v1alpha1.SuspendedByCoordinator, ready(metav1.ConditionTrue, back), false, false},
		"the target came back":      {ptr.To(int32(600)), v1alpha1.SuspendedByCoordinator, ready(metav1.ConditionTrue, back), true, false},
		"a user suspended it":       {ptr.To(int32(600)), "", ready(metav1.ConditionTrue, back), false, false},
		"the target is gone":        {ptr.To(int32(600)), v1alpha1.SuspendedByCoordinator, nil, false, false},
		"the target is down":        {ptr.To(int32(600)), v1alpha1.SuspendedByCoordinator, ready(metav1.ConditionFalse, back), false, false},
		"an upgrade goes on":        {ptr.To(int32(600)), v1alpha1.SuspendedByCoordinator, ready(metav1.ConditionTrue, back), false, true},
		"the target was never down": {ptr.To(int32(600)), v1alpha1.SuspendedByCoordinator, ready(metav1.ConditionTrue, hour(3)), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.ResumeAfterTargetReadySeconds = c.wait }).at(t0)
			for h := 10; h < 13; h++ {
				w.run(h, v1alpha1.BackupFailed)
			}
			w.s.Annotations[v1alpha1.AnnotationSuspendedBy] = c.by
			if c.held {
				w.s.Annotations[v1alpha1.AnnotationHeld] = "an upgrade"
			}
			w.at(hour(13))
			require.True(t, w.s.Spec.Suspend)
			w.target = c.target
			w.at(back.Add(9 * time.Minute))
			require.True(t, w.s.Spec.Suspend)
			w.at(back.Add(10 * time.Minute))
			require.Equal(t, !c.want, w.s.Spec.Suspend)
			if c.held {
				delete(w.s.Annotations, v1alpha1.AnnotationHeld) // the upgrade is done
				w.at(back.Add(11 * time.Minute))
				require.False(t, w.s.Spec.Suspend)
			}
			if c.want {
				w.at(back.Add(11 * time.Minute))
				require.Zero(t, w.s.Status.ConsecutiveFailures)
			}
		})
	}
}
