package control_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// TestMissedRunsAreMadeUpForOnce: nobody led for five hours. Each schedule then has
// one run, the latest, at a moment of its own; one that was suspended meanwhile has
// it when it is resumed, and one with a deadline has none.
func TestMissedRunsAreMadeUpForOnce(t *testing.T) {
	t.Parallel()
	const spread = 6 * time.Second
	w := newWorld(t)
	w.opts.Runs = runs.DefaultConfig()
	w.opts.Runs.CatchUpSpread = spread
	session, _ := w.session("n1")
	w.agent(session)

	// Each hour, the last time half an hour ago: neither just now nor soon.
	last := time.Now().UTC().Truncate(time.Minute).Add(-30 * time.Minute)
	cron := fmt.Sprintf("%d * * * *", last.Minute())
	missed := func(name string, change func(*v1alpha1.VMScheduleSpec)) *v1alpha1.VMSchedule {
		w.vm(name)
		s := w.schedule(name, "", func(s *v1alpha1.VMScheduleSpec) {
			s.Cron, s.VM, s.Type = cron, name, v1alpha1.TypeSnapshot
			change(s)
		})
		before := metav1.NewTime(last.Add(-5 * time.Hour))
		s.Status.Timetable = &v1alpha1.Timetable{Cron: cron, TimeZone: s.Spec.TimeZone, Since: before}
		s.Status.LastNominalTime = &before
		require.NoError(t, w.client.Status().Update(w.ctx, s))
		return s
	}
	var all []*v1alpha1.VMSchedule
	for i := range 8 {
		all = append(all, missed(fmt.Sprintf("down-%d", i), func(*v1alpha1.VMScheduleSpec) {}))
	}
	slept := missed("slept", func(s *v1alpha1.VMScheduleSpec) { s.Suspend = true })
	strict := missed("strict", func(s *v1alpha1.VMScheduleSpec) { s.StartingDeadlineSeconds = ptr.To(int64(600)) })

	// caughtUp tells of the one run of each.
	caughtUp := func(from time.Time, schedules ...*v1alpha1.VMSchedule) {
		t.Helper()
		w.eventually("each has made up for one run", func() bool {
			for _, s := range schedules {
				if w.refresh(s); s.Status.LastSuccessTime == nil || len(s.Status.Runs) > 0 {
					return false
				}
			}
			return true
		})
		for _, s := range schedules {
			points := w.scheduledPoints(s)
			require.Len(t, points, 1, s.Name)
			at, _ := runs.Nominal(&points[0])
			require.Equal(t, last, at)
			require.Equal(t, last, s.Status.LastNominalTime.UTC())
			require.EqualValues(t, 4, s.Status.MissedRuns, s.Name)
			require.Zero(t, s.Status.SkippedRuns)
			own := schedule.Jitter(spread, string(s.UID), s.Spec.VM)
			waited := points[0].CreationTimestamp.Add(2 * time.Second).Sub(from) // both moments are stored in whole seconds
			require.Greater(t, waited, own, "%s has its own moment", s.Name)
		}
	}
	from := time.Now()
	w.start("one")
	caughtUp(from, all...)
	w.refresh(slept)
	require.Empty(t, w.scheduledPoints(slept))
	require.Equal(t, v1alpha1.SuspendedUser, suspended(slept))
	w.refresh(strict)
	require.Empty(t, w.scheduledPoints(strict))
	require.EqualValues(t, 5, strict.Status.MissedRuns)

	// What is changed of a suspended schedule holds at once, too.
	w.patch(slept, `{"spec":{"retention":{"keepLast":20},"maxFailures":7}}`)
	w.eventually("the edit is seen", func() bool { w.refresh(slept); return slept.Status.ObservedGeneration == slept.Generation })
	require.Nil(t, slept.Status.NextTime)
	from = time.Now()
	w.patch(slept, `{"spec":{"suspend":false}}`)
	caughtUp(from, slept)
	require.Equal(t, last.Add(time.Hour), slept.Status.NextTime.UTC())
}
