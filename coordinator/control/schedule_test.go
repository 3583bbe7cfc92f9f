package control_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// schedule makes a schedule of VM web that runs each second.
func (w *world) schedule(name, target string, changes ...func(*v1alpha1.VMScheduleSpec)) *v1alpha1.VMSchedule {
	w.t.Helper()
	s := &v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns},
		Spec: v1alpha1.VMScheduleSpec{
			Cron: "@every 1s", VM: "web", Target: target, MaxFailures: 2, Retention: v1alpha1.Retention{KeepLast: 3},
			SpacingOverride: &v1alpha1.SpacingOverride{Reason: "a test"},
		},
	}
	for _, change := range changes {
		change(&s.Spec)
	}
	w.create(s)
	return s
}

// agent does every job at once, and well, until the test ends.
func (w *world) agent(session string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			var list v1alpha1.NodeJobList
			_ = w.client.List(ctx, &list, client.InNamespace(w.own))
			for i := range list.Items {
				w.work(ctx, &list.Items[i], session)
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	w.t.Cleanup(func() { cancel(); done.Wait() })
}

func (w *world) work(ctx context.Context, j *v1alpha1.NodeJob, session string) {
	if j.Status.State != v1alpha1.JobPending || j.Spec.NodeName == "" {
		return
	}
	now, at := metav1.Now(), metav1.NowMicro()
	st := &j.Status
	st.State, st.Session, st.ClaimedAt, st.CompletedAt = v1alpha1.JobSucceeded, session, &now, &now
	switch {
	case j.Spec.Cut != nil:
		st.Cut = &v1alpha1.CutStatus{Number: 1, StartedAt: &at, WindowMicroseconds: 1500, Snapshots: map[string]string{}}
		for _, d := range j.Spec.Cut.Disks {
			st.Cut.Snapshots[d.Name] = names.Snapshot(j.Spec.Owner.UID, 1, d.Name)
		}
	case j.Spec.Backup != nil:
		st.Transfer = &v1alpha1.TransferStatus{
			Started: true, Progress: &v1alpha1.Progress{BytesDone: 1 << 20, BytesTotal: 1 << 20}, SupersededRemoved: len(j.Spec.Backup.Superseded) > 0,
		}
	}
	_ = w.client.Status().Update(ctx, j) // what fails is tried again
}

// scheduledPoints are the points of a schedule.
func (w *world) scheduledPoints(s *v1alpha1.VMSchedule) []v1alpha1.VMBackup {
	w.t.Helper()
	var list v1alpha1.VMBackupList
	require.NoError(w.t, w.client.List(w.ctx, &list, client.InNamespace(w.ns), client.MatchingLabels{v1alpha1.LabelSchedule: string(s.UID)}))
	return list.Items
}

// recorded is every point that a schedule ever made: nominal time -> UIDs.
type recorded struct {
	mu     sync.Mutex
	made   map[time.Time]map[types.UID]bool
	failed map[string]string // name -> why, of those that ever did
}

// record watches from now on what is made for a schedule.
func (w *world) record(s *v1alpha1.VMSchedule) *recorded {
	w.t.Helper()
	c, err := client.NewWithWatch(w.config, client.Options{Scheme: w.client.Scheme()})
	require.NoError(w.t, err)
	watched, err := c.Watch(w.ctx, &v1alpha1.VMBackupList{}, client.InNamespace(w.ns), client.MatchingLabels{v1alpha1.LabelSchedule: string(s.UID)})
	require.NoError(w.t, err)
	w.t.Cleanup(watched.Stop)
	r := &recorded{made: map[time.Time]map[types.UID]bool{}, failed: map[string]string{}}
	go func() {
		for e := range watched.ResultChan() {
			b, ok := e.Object.(*v1alpha1.VMBackup)
			if !ok {
				continue
			}
			at, _ := runs.Nominal(b)
			r.mu.Lock()
			if r.made[at] == nil {
				r.made[at] = map[types.UID]bool{}
			}
			r.made[at][b.UID] = true
			if ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady); b.Status.Phase == v1alpha1.BackupFailed && ready != nil {
				r.failed[b.Name] = ready.Message
			}
			r.mu.Unlock()
		}
	}()
	return r
}

func (r *recorded) each(f func(at time.Time, points int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, points := range r.made {
		f(at, len(points))
	}
}

func (r *recorded) failures() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.failed)
}

func suspended(s *v1alpha1.VMSchedule) string {
	c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionSuspended)
	if c == nil || c.Status != metav1.ConditionTrue {
		return ""
	}
	return c.Reason
}

func TestScheduleMakesPointsAndRemovesTheOldest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.agent(session)
	w.vm("web")
	target := w.target("s3").Name
	s := w.schedule("seconds", target)
	made := w.record(s)
	w.eventually("six runs", func() bool {
		runs := 0
		made.each(func(time.Time, int) { runs++ })
		return runs >= 6
	})
	w.patch(s, `{"spec":{"suspend":true}}`) // or the next run may make one before the last has removed one
	w.eventually("they were good and three points are left", func() bool {
		w.refresh(s)
		return len(s.Status.Runs) == 0 && len(w.scheduledPoints(s)) == 3
	})
	made.each(func(at time.Time, points int) { require.Equal(t, 1, points, at) })
	points := w.scheduledPoints(s)
	for i := range points {
		b := &points[i]
		require.Equal(t, "seconds", b.Annotations[v1alpha1.AnnotationSchedule])
		require.Equal(t, "web", b.Labels[v1alpha1.LabelVM])
		require.Empty(t, b.OwnerReferences)
		at, ok := runs.Nominal(b)
		require.True(t, ok)
		require.Equal(t, names.Scheduled(s.UID, "web", at), b.Name)
		require.False(t, at.After(s.Status.LastNominalTime.Time))
	}
	require.NotNil(t, s.Status.LastSuccessTime)
	require.Zero(t, s.Status.ConsecutiveFailures)

	// One that is pinned stays whatever its age.
	pinned := points[0]
	require.NoError(t, w.client.Patch(w.ctx, &pinned, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"pinned":true}}`))))
	w.patch(s, `{"spec":{"suspend":false}}`)
	before := s.Status.LastNominalTime.Time
	w.eventually("four more runs", func() bool { w.refresh(s); return s.Status.LastNominalTime.After(before.Add(6 * time.Second)) })
	require.True(t, w.refresh(&pinned))
	require.True(t, pinned.DeletionTimestamp.IsZero())

	// An edit of the times holds at once: nothing runs any more.
	require.NoError(t, w.client.Patch(w.ctx, s, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"cron":"0 4 29 2 *"}}`))))
	w.eventually("the edit is seen", func() bool {
		w.refresh(s)
		return s.Status.ObservedGeneration == s.Generation && s.Status.NextTime.Month() == time.February
	})
	last := s.Status.LastNominalTime.Time
	w.holds("nothing runs", 2*time.Second, func() bool { w.refresh(s); return s.Status.LastNominalTime.Time.Equal(last) })

	// Deleting the schedule keeps its points.
	require.NoError(t, w.client.Delete(w.ctx, s))
	w.eventually("it is gone", func() bool { return !w.refresh(s.DeepCopy()) })
	w.holds("its points stay", time.Second, func() bool { return len(w.scheduledPoints(s)) >= 3 })
}

func TestSchedulePointsGoWithItWhereThatIsWanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.agent(session)
	w.vm("web")
	s := w.schedule("seconds", w.target("s3").Name, func(s *v1alpha1.VMScheduleSpec) {
		s.PointsOnDelete, s.Retention.KeepLast = v1alpha1.PointsDelete, 100 // retention takes none of them
	})
	w.eventually("there are points", func() bool { return len(w.scheduledPoints(s)) >= 2 })
	pinned := w.scheduledPoints(s)[0]
	require.NoError(t, w.client.Patch(w.ctx, &pinned, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"pinned":true}}`))))
	require.NoError(t, w.client.Delete(w.ctx, s))
	w.eventually("it is gone, and so are the points that are not pinned", func() bool {
		points := w.scheduledPoints(s)
		return !w.refresh(s.DeepCopy()) && len(points) == 1 && points[0].Name == pinned.Name
	})
}

func TestFailuresSuspendASchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	target := w.target("s3").Name
	s := w.schedule("seconds", target, func(s *v1alpha1.VMScheduleSpec) { s.Retention.KeepLast = 10 })
	failed := map[string]bool{}
	w.eventually("it is suspended", func() bool {
		for _, j := range w.jobs() {
			if j.Spec.Cut != nil && j.Spec.NodeName != "" && j.Status.State == v1alpha1.JobPending && !failed[j.Name] {
				failed[j.Name] = true
				w.claim(&j, session)
				w.failJob(&j, "SnapshotLimit", "the volume has too many snapshots", false)
			}
		}
		w.refresh(s)
		return suspended(s) == v1alpha1.SuspendedMaxFailures
	})
	require.True(t, s.Spec.Suspend)
	require.EqualValues(t, 2, s.Status.ConsecutiveFailures)
	require.Equal(t, v1alpha1.SuspendedByCoordinator, s.Annotations[v1alpha1.AnnotationSuspendedBy])
	require.Contains(t, s.Annotations[v1alpha1.AnnotationSuspendReason], "the volume has too many snapshots")
	points := len(w.scheduledPoints(s))
	w.holds("nothing runs", 2*time.Second, func() bool { return len(w.scheduledPoints(s)) == points })

	w.agent(session)
	w.patch(s, `{"metadata":{"annotations":{"`+v1alpha1.AnnotationHeld+`":"an upgrade"}}}`) // whose user resumes it all the same
	w.patch(s, `{"spec":{"suspend":false}}`)
	w.eventually("it runs again", func() bool {
		w.refresh(s)
		return s.Status.LastSuccessTime != nil && suspended(s) == "" && s.Status.ConsecutiveFailures == 0
	})
	require.NotContains(t, s.Annotations, v1alpha1.AnnotationSuspendedBy)
	require.NotContains(t, s.Annotations, v1alpha1.AnnotationSuspendReason)
	require.NotContains(t, s.Annotations, v1alpha1.AnnotationHeld)
	w.eventually("the failed points went first", func() bool {
		for _, b := range w.scheduledPoints(s) {
			if b.Status.Phase == v1alpha1.BackupFailed {
				return false
			}
		}
		return true
	})
}

func TestANewLeaderMakesNoRunTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	session, _ := w.session("n1")
	w.agent(session)
	w.vm("web")
	target := w.target("s3").Name
	_, stop := w.start("one")
	s := w.schedule("seconds", target)
	made := w.record(s)
	for _, next := range []string{"two", "three"} {
		before := w.lastRun(s)
		w.eventually("two more runs", func() bool { return w.lastRun(s).After(before.Add(2 * time.Second)) })
		stop()
		_, stop = w.start(next)
	}
	before := w.lastRun(s)
	w.eventually("two more runs", func() bool { return w.lastRun(s).After(before.Add(2 * time.Second)) })
	stop()
	w.refresh(s)
	passed := int64(s.Status.LastNominalTime.Sub(s.CreationTimestamp.Time) / time.Second)
	// The watch may be behind.
	w.eventually("each run is made, missed, skipped or about to be made", func() bool {
		run := map[int64]bool{} // nominal times with a point, or recorded to get one
		made.each(func(at time.Time, points int) {
			require.Equal(t, 1, points, at)
			require.False(t, at.After(s.Status.LastNominalTime.Time))
			run[at.Unix()] = true
		})
		for _, r := range s.Status.Runs { // the last leader was stopped at any moment
			if len(r.Pending) > 0 {
				run[r.NominalTime.Unix()] = true
			}
		}
		accounted := int64(len(run)) + s.Status.MissedRuns + s.Status.SkippedRuns
		require.LessOrEqual(t, accounted, passed)
		return accounted == passed
	})
}

func (w *world) lastRun(s *v1alpha1.VMSchedule) time.Time {
	w.refresh(s)
	if s.Status.LastNominalTime == nil {
		return time.Time{}
	}
	return s.Status.LastNominalTime.Time
}

func TestSchedulesOfASelector(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.agent(session)
	for _, name := range []string{"a", "b", "c"} {
		vm := w.vm(name)
		if name != "c" {
			vm.SetLabels(map[string]string{"backup": "yes"})
			require.NoError(t, w.client.Update(w.ctx, vm))
		}
	}
	s := w.schedule("seconds", w.target("s3").Name, func(s *v1alpha1.VMScheduleSpec) {
		s.VM, s.Selector = "", &metav1.LabelSelector{MatchLabels: map[string]string{"backup": "yes"}}
	})
	of := func() map[string]int {
		points := map[string]int{}
		for _, b := range w.scheduledPoints(s) {
			points[b.Spec.VM]++
		}
		return points
	}
	w.eventually("six runs, and points of both VMs", func() bool {
		w.refresh(s)
		points := of()
		return points["a"] >= 3 && points["b"] >= 3 && s.Status.LastNominalTime.Sub(s.CreationTimestamp.Time) > 6*time.Second
	})
	w.patch(s, `{"spec":{"suspend":true}}`) // or the next run may make one before the last has removed one
	w.eventually("as many as are kept", func() bool { points := of(); return points["a"] == 3 && points["b"] == 3 })
	for _, b := range w.scheduledPoints(s) {
		require.False(t, strings.HasPrefix(b.Name, "c-"))
	}
}

// Where no webhook is asked the coordinator itself holds the rules.
func TestRefusedSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	w.vm("web")
	s := w.schedule("seconds", w.target("s3").Name, func(s *v1alpha1.VMScheduleSpec) { s.SpacingOverride = nil })
	w.eventually("it is refused", func() bool { w.refresh(s); reason, _ := ready(s.Status.Conditions); return reason == "Refused" })
	_, message := ready(s.Status.Conditions)
	require.Contains(t, message, "spec.cron")
	w.holds("nothing runs", 2*time.Second, func() bool { return len(w.scheduledPoints(s)) == 0 })
	w.refresh(s)
	require.Nil(t, s.Status.NextTime)
}
