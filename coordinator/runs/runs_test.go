package runs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestARunIsRecordedBeforeItsPointIsMade(t *testing.T) {
	w := newWorld(t).at(t0)
	require.Empty(t, w.made, "it was made at 9:30")
	require.Equal(t, hour(10), w.s.Status.NextTime.UTC())
	require.Equal(t, metav1.ConditionTrue, w.condition(v1alpha1.ConditionReady).Status)
	require.NotNil(t, w.last.Timetable)
	require.Equal(t, v1alpha1.Timetable{Cron: "0 * * * *", TimeZone: "UTC", Since: metav1.NewTime(t0)}, *w.s.Status.Timetable)

	w.at(hour(10).Add(-time.Second))
	require.Empty(t, w.made)
	require.Equal(t, Need{}, w.asked, "where nothing is due nothing is asked for")
	w.at(hour(10))
	require.Equal(t, []string{"2026-11-26T10:00:00Z web"}, w.made)
	require.Equal(t, hour(10), w.last.Status.LastNominalTime.UTC())
	require.Equal(t, []string{"web"}, w.last.Status.Runs[0].Pending, "whoever comes after a crash knows what is to be made")
	require.Equal(t, v1alpha1.ScheduleRun{NominalTime: metav1.NewTime(hour(10)), BeganAt: metav1.NewTime(hour(10)), Points: 1}, w.s.Status.Runs[0])
	require.Equal(t, hour(11), w.s.Status.NextTime.UTC())

	b := w.points[0]
	require.Equal(t, map[string]string{v1alpha1.LabelSchedule: "s-uid", v1alpha1.LabelVM: "web"}, b.Labels)
	require.Equal(t, []string{v1alpha1.FinalizerData}, b.Finalizers, "as when it begins")
	require.Equal(t, "hourly", b.Annotations[v1alpha1.AnnotationSchedule])
	require.Empty(t, b.OwnerReferences, "deleting the schedule keeps it")
	require.Equal(t, v1alpha1.VMBackupSpec{VM: "web", Type: v1alpha1.TypeBackup, Target: "s3"}, b.Spec)
}

// A leader that died between the record and the point.
func TestWhatWasRecordedIsMade(t *testing.T) {
	w := newWorld(t).at(t0).at(hour(10))
	w.s.Status = *w.last.Status.DeepCopy() // what was made is not recorded
	former := w.points
	w.points, w.made = nil, nil
	w.at(hour(10).Add(5 * time.Second))
	require.Len(t, w.points, 1)
	require.Equal(t, former[0].Name, w.points[0].Name)
	w.end("web", v1alpha1.BackupReady).at(hour(10).Add(time.Minute))
	require.Empty(t, w.s.Status.Runs)
	w.points = nil // whatever becomes of it
	w.at(hour(10).Add(2 * time.Minute))
	require.Len(t, w.made, 1, "a run that was dealt with does not come back")
}

func TestHowARunEnds(t *testing.T) {
	w := newWorld(t).at(t0).run(10, v1alpha1.BackupReady)
	require.Empty(t, w.s.Status.Runs)
	require.Equal(t, &v1alpha1.ScheduleResult{NominalTime: metav1.NewTime(hour(10)), EndedAt: metav1.NewTime(hour(10).Add(time.Minute)), Ready: 1}, w.s.Status.LastRun)
	require.Equal(t, hour(10), w.s.Status.LastSuccessTime.UTC())

	w.run(11, v1alpha1.BackupFailed).run(12, v1alpha1.BackupFailed)
	require.EqualValues(t, 2, w.s.Status.ConsecutiveFailures)
	require.Equal(t, hour(11), w.s.Status.FailingSince.UTC())
	require.Contains(t, w.s.Status.LastRun.Message, "the target is full")
	require.False(t, w.s.Spec.Suspend)
	w.run(13, v1alpha1.BackupReady)
	require.Zero(t, w.s.Status.ConsecutiveFailures, "a success begins anew")
	require.Nil(t, w.s.Status.FailingSince)
	require.Equal(t, []string{"RunFailed", "RunFailed"}, w.events)
}

func TestPointsThatSomebodyDeletesTellNothing(t *testing.T) {
	w := newWorld(t).at(t0).run(10, v1alpha1.BackupFailed).at(hour(11))
	w.drop(w.points[len(w.points)-1].Name)
	w.at(hour(11).Add(time.Minute))
	require.True(t, w.asked.Live, "the cache may only not show it yet")
	require.Empty(t, w.s.Status.Runs)
	require.EqualValues(t, 1, w.s.Status.ConsecutiveFailures)
}

// A point that the cache does not show yet has not ended.
func TestTheCacheLagsBehind(t *testing.T) {
	w := newWorld(t).at(t0).at(hour(10))
	w.hidden[w.points[0].Name] = true
	w.at(hour(10).Add(time.Second))
	require.True(t, w.asked.Live)
	require.Len(t, w.s.Status.Runs, 1)
	w.at(hour(11))
	require.Len(t, w.made, 1, "it is still going")
	require.EqualValues(t, 1, w.s.Status.SkippedRuns)
}

func TestNoPileUp(t *testing.T) {
	w := newWorld(t).at(t0).at(hour(10)).at(hour(11)).at(hour(12))
	require.Len(t, w.made, 1)
	require.EqualValues(t, 2, w.s.Status.SkippedRuns)
	require.Equal(t, []string{"RunSkipped", "RunSkipped"}, w.events)
	require.Equal(t, hour(12), w.s.Status.LastNominalTime.UTC())
	w.end("web", v1alpha1.BackupReady).at(hour(12).Add(time.Minute))
	require.Len(t, w.made, 1, "what was skipped is not made up for")
	w.at(hour(13))
	require.Len(t, w.made, 2)
}

func TestOneRunCatchesUp(t *testing.T) {
	w := newWorld(t).at(t0).run(10, v1alpha1.BackupReady)
	late := hour(15).Add(20 * time.Minute)
	w.at(late)
	require.Len(t, w.s.Status.Runs, 1)
	require.EqualValues(t, 4, w.s.Status.MissedRuns, "11 to 14")
	require.Equal(t, hour(15), w.s.Status.LastNominalTime.UTC())
	require.EqualValues(t, 60, w.s.Status.Runs[0].SpreadSeconds, "all schedules were down together")
	w.at(late.Add(time.Minute))
	require.Equal(t, "2026-11-26T15:00:00Z web", w.made[1])
	require.Len(t, w.made, 2)
	w.at(late.Add(-5 * time.Hour)) // the clock is set back
	require.Equal(t, ReasonClockSetBack, w.condition(v1alpha1.ConditionReady).Reason)
	require.Contains(t, w.condition(v1alpha1.ConditionReady).Message, "change spec.cron or spec.timeZone, and the schedule begins anew")
	w.at(hour(15))
	require.Len(t, w.made, 2, "nothing runs again")
	w.end("web", v1alpha1.BackupReady).at(hour(16))
	require.Len(t, w.made, 3)
	require.Equal(t, metav1.ConditionTrue, w.condition(v1alpha1.ConditionReady).Status)
}

func TestEditsHoldAtOnce(t *testing.T) {
	w := newWorld(t).at(t0).run(10, v1alpha1.BackupReady)
	edit := func(change func(*v1alpha1.VMScheduleSpec)) { change(&w.s.Spec); w.s.Generation++ }
	edit(func(s *v1alpha1.VMScheduleSpec) { s.Cron = "5 * * * *" })
	w.at(hour(10).Add(30 * time.Minute))
	require.Len(t, w.made, 1, "10:05 was before the change")
	require.Equal(t, hour(11).Add(5*time.Minute), w.s.Status.NextTime.UTC())
	require.Equal(t, hour(10).Add(30*time.Minute), w.s.Status.Timetable.Since.UTC())
	edit(func(s *v1alpha1.VMScheduleSpec) { s.TimeZone = "Asia/Kolkata" })
	w.at(hour(10).Add(31 * time.Minute))
	require.Equal(t, hour(10).Add(35*time.Minute), w.s.Status.NextTime.UTC(), "16:05 in India")
	for h := range 3 {
		w.at(hour(11+h).Add(35*time.Minute)).end("web", v1alpha1.BackupFailed).at(hour(11 + h).Add(36 * time.Minute))
		if h == 1 {
			break
		}
	}
	edit(func(s *v1alpha1.VMScheduleSpec) { s.MaxFailures = 2 })
	w.at(hour(12).Add(40 * time.Minute))
	require.True(t, w.s.Spec.Suspend, "the new limit is reached already")
}

func TestRefusedSchedulesDoNotRun(t *testing.T) {
	w := newWorld(t)
	w.refuse = []string{"spec.cron runs every minute"}
	w.at(t0).at(hour(10))
	require.Empty(t, w.made)
	require.Equal(t, "spec.cron runs every minute", w.condition(v1alpha1.ConditionReady).Message)
	require.Nil(t, w.s.Status.NextTime)
	require.Equal(t, []string{"Refused"}, w.events, "it is told once")
	require.Positive(t, w.last.After, "others may go meanwhile")
	w.refuse = nil
	w.at(hour(10).Add(time.Minute))
	require.Empty(t, w.made, "what it would have run is not made up for")
	require.Zero(t, w.s.Status.MissedRuns)
	w.at(hour(11))
	require.Len(t, w.made, 1)
	require.False(t, w.asked.Check, "the rules are asked once for each generation")
}

func TestVMIsGone(t *testing.T) {
	w := newWorld(t).at(t0)
	w.vms = nil
	for h := 10; h < 13; h++ {
		w.at(hour(h))
	}
	require.Empty(t, w.made)
	require.True(t, w.s.Spec.Suspend)
	require.Contains(t, w.s.Annotations[v1alpha1.AnnotationSuspendReason], `there is no VirtualMachine "web" in namespace shop (spec.vm)`)
}

func TestSelectors(t *testing.T) {
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.VM, s.Selector = "", &metav1.LabelSelector{} }).at(t0)
	w.vms = []string{"a", "b"}
	w.at(hour(10))
	require.Equal(t, []string{"2026-11-26T10:00:00Z a", "2026-11-26T10:00:00Z b"}, w.made)
	w.end("a", v1alpha1.BackupFailed).at(hour(10).Add(time.Minute))
	w.vms = []string{"a", "b", "c"}
	w.at(hour(11))
	require.Equal(t, []string{"2026-11-26T11:00:00Z a", "2026-11-26T11:00:00Z c"}, w.made[2:], "b is still going")
	require.EqualValues(t, 1, w.s.Status.SkippedRuns)
	require.Len(t, w.s.Status.Runs, 2)
	w.end("a", v1alpha1.BackupFailed).end("c", v1alpha1.BackupFailed).at(hour(11).Add(time.Minute))
	require.EqualValues(t, 1, w.s.Status.ConsecutiveFailures, "no point of this run is good")
	w.end("b", v1alpha1.BackupReady).at(hour(11).Add(2 * time.Minute))
	require.Zero(t, w.s.Status.ConsecutiveFailures, "one of the other is")
	require.EqualValues(t, 1, w.s.Status.LastRun.Ready)
	require.EqualValues(t, 1, w.s.Status.LastRun.Failed)
	w.vms = nil
	w.at(hour(12))
	require.Contains(t, w.events, "NothingSelected")
	require.Zero(t, w.s.Status.ConsecutiveFailures, "no VM is no failure")
}

func TestJitter(t *testing.T) {
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) {
		s.VM, s.Selector, s.JitterSeconds = "", &metav1.LabelSelector{}, 600
	}).at(t0)
	w.vms = []string{"a", "b", "c", "d", "e"}
	w.at(hour(10))
	require.Less(t, len(w.made), 5)
	require.Positive(t, w.last.After)
	for range 10 {
		w.at(w.now.Add(w.last.After))
		if len(w.s.Status.Runs[0].Pending) == 0 {
			break
		}
	}
	require.Len(t, w.made, 5)
	require.Less(t, w.now, hour(10).Add(10*time.Minute))
}

func TestWhatTheServerRefusesFails(t *testing.T) {
	w := newWorld(t).at(t0).at(hour(10))
	w.s.Status = *w.last.Status.DeepCopy()
	w.points = nil
	Made(&w.s.Status, nil, map[*v1alpha1.VMBackup]string{w.last.Create[0]: "too many vmbackups"})
	w.at(hour(10).Add(time.Second))
	require.EqualValues(t, 1, w.s.Status.ConsecutiveFailures)
	require.Equal(t, "too many vmbackups", w.s.Status.LastRun.Message)
}

func TestTheEndOfASchedule(t *testing.T) {
	for policy, left := range map[v1alpha1.PointsPolicy]int{v1alpha1.PointsRetain: 3, v1alpha1.PointsDelete: 1} {
		w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.PointsOnDelete = policy }).at(t0)
		require.Equal(t, policy == v1alpha1.PointsDelete, w.last.AddFinalizer)
		require.Equal(t, policy == v1alpha1.PointsRetain, w.last.DropFinalizer)
		w.run(10, v1alpha1.BackupReady).run(11, v1alpha1.BackupReady).at(hour(12))
		w.points[0].Spec.Pinned = true
		w.s.DeletionTimestamp = ptr.To(metav1.NewTime(hour(12)))
		w.at(hour(13))
		require.Len(t, w.points, left, policy)
		require.Len(t, w.made, 3, "no more points")
		require.True(t, w.last.DropFinalizer)
	}
}

// With its namespace, or with all schedules, a schedule takes no points along:
// their data on targets would go, and nobody has said so.
func TestAScheduleThatGoesWithItsNamespaceTakesNoPoints(t *testing.T) {
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.PointsOnDelete = v1alpha1.PointsDelete }).at(t0)
	w.run(10, v1alpha1.BackupReady).at(hour(11))
	w.s.DeletionTimestamp, w.goesWith = ptr.To(metav1.NewTime(hour(11))), "namespace ns"
	made := len(w.points)
	w.at(hour(12))
	require.Len(t, w.points, made)
	require.True(t, w.last.DropFinalizer)
}

func TestRetention(t *testing.T) {
	w := newWorld(t).at(t0)
	for h := 10; h < 14; h++ {
		w.run(h, v1alpha1.BackupReady)
	}
	require.Empty(t, w.removed)
	require.False(t, w.asked.Live, "where nothing is to go nothing is listed")
	w.points[0].Spec.Pinned = true
	w.reads = map[types.UID][]string{w.points[1].UID: {"copy"}}
	w.run(14, v1alpha1.BackupReady)
	require.Empty(t, w.removed, "one is pinned")
	w.run(15, v1alpha1.BackupReady)
	require.Empty(t, w.removed, "one is being read")
	w.run(16, v1alpha1.BackupReady)
	require.Equal(t, []string{"2026-11-26T12:00:00Z web"}, w.removed)
	require.True(t, w.asked.Live)

	w.s.Spec.Retention.KeepLast = 2
	w.s.Generation++
	w.at(hour(16).Add(10 * time.Minute))
	require.Equal(t, []string{"2026-11-26T13:00:00Z web", "2026-11-26T14:00:00Z web"}, w.removed[1:], "an edit holds at once")
	w.reads = nil
	w.at(hour(16).Add(20 * time.Minute))
	require.Equal(t, "2026-11-26T11:00:00Z web", w.removed[3])
	w.at(hour(16).Add(30 * time.Minute))
	require.Len(t, w.removed, 4)
}

// What is removed follows from what exists, not from a cache that lags behind.
func TestRetentionLooksAgain(t *testing.T) {
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.Retention.KeepLast = 4 }).at(t0)
	for h := 10; h < 14; h++ {
		w.run(h, v1alpha1.BackupReady)
	}
	cached := append([]v1alpha1.VMBackup{}, w.points...)
	cached = append(cached, *Point(w.s, "web", hour(8)), *Point(w.s, "web", hour(9)))
	for i := range cached {
		cached[i].Status.Phase = v1alpha1.BackupReady
	}
	v := View{Now: w.now, Schedule: w.s, Config: w.config, Points: cached}
	require.True(t, Plan(v).Need.Live)
	v.Live, v.Points = true, w.points
	require.Empty(t, Plan(v).Remove)
	v.Points = nil
	require.Empty(t, Plan(v).Remove, "an empty listing removes nothing")
}

func TestFailedPointsOfOpenRunsStay(t *testing.T) {
	w := newWorld(t, func(s *v1alpha1.VMScheduleSpec) { s.VM, s.Selector = "", &metav1.LabelSelector{} }).at(t0)
	w.vms = []string{"a", "b"}
	w.at(hour(10)).end("a", v1alpha1.BackupFailed).at(hour(11)).end("a", v1alpha1.BackupReady).at(hour(11).Add(time.Minute))
	require.Empty(t, w.removed, "the run of 10:00 is not counted yet")
	w.end("b", v1alpha1.BackupReady).at(hour(11).Add(2 * time.Minute)).at(hour(11).Add(3 * time.Minute))
	require.Equal(t, []string{"2026-11-26T10:00:00Z a"}, w.removed)
}
