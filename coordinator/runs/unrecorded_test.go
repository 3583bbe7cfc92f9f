package runs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
)

// forget is what is left when a leader ends that has made a point and not recorded it.
func (w *world) forget(former v1alpha1.VMScheduleStatus) *world {
	w.s.Status = former
	return w
}

// unrecorded has had one run, and then one at eleven of which its point alone tells.
func unrecorded(t *testing.T, changes ...func(*v1alpha1.VMScheduleSpec)) *world {
	w := newWorld(t, changes...).at(t0).run(10, v1alpha1.BackupReady)
	former := *w.s.Status.DeepCopy()
	w.at(hour(11)).forget(former)
	require.Len(t, w.made, 2)
	require.Equal(t, hour(10), w.s.Status.LastNominalTime.UTC())
	return w
}

func TestAPointTellsOfItsRun(t *testing.T) {
	for name, c := range map[string]struct {
		then func(*world)
		runs int
		last time.Time
	}{
		"at once":           {func(w *world) { w.at(hour(11).Add(time.Second)) }, 1, hour(11)},
		"it has ended":      {func(w *world) { w.end("web", v1alpha1.BackupReady).at(hour(11).Add(time.Second)) }, 0, hour(11)},
		"suspended":         {func(w *world) { w.suspend(true).at(hour(11).Add(time.Second)) }, 1, hour(11)},
		"another cron":      {func(w *world) { w.s.Spec.Cron = "30 * * * *"; w.s.Generation++; w.at(hour(11).Add(time.Second)) }, 0, hour(10)},
		"refused meanwhile": {func(w *world) { w.refuse = []string{"no"}; w.s.Generation++; w.at(hour(11).Add(time.Second)) }, 1, hour(11)},
	} {
		t.Run(name, func(t *testing.T) {
			w := unrecorded(t)
			c.then(w)
			require.Len(t, w.s.Status.Runs, c.runs)
			require.Equal(t, c.last, w.s.Status.LastNominalTime.UTC())
			require.Len(t, w.made, 2)
			if c.runs == 1 {
				run := w.s.Status.Runs[0]
				require.EqualValues(t, 1, run.Points)
				require.Empty(t, run.Pending)
				require.Equal(t, hour(11), run.NominalTime.UTC())
			}
			w.suspend(false).end("web", v1alpha1.BackupReady).at(hour(11).Add(5 * time.Minute))
			require.Len(t, w.made, 2, "it is not made a second time")
			require.Zero(t, w.s.Status.MissedRuns)
			require.Zero(t, w.s.Status.SkippedRuns)
			require.Len(t, w.points, 2)
		})
	}
}

// Whoever leads next may not see the point yet. It meets it by its name when it makes
// it, and asks before it takes its time for one that passed.
func TestAPointThatTheCacheLacks(t *testing.T) {
	w := unrecorded(t)
	w.hidden[w.points[1].Name] = true
	w.at(hour(11).Add(time.Second))
	require.Equal(t, w.points[1].Name, w.last.Create[0].Name)

	deadline := func(s *v1alpha1.VMScheduleSpec) { s.StartingDeadlineSeconds = ptr.To(int64(10)) }
	for late, asks := range map[time.Duration]bool{20 * time.Second: true, recordedBy: false} {
		w = unrecorded(t, deadline)
		w.hidden[w.points[1].Name] = true
		w.at(hour(11).Add(late))
		require.Equal(t, asks, w.asked.Live)
		require.Len(t, w.made, 2)
		if asks {
			require.Zero(t, w.s.Status.MissedRuns)
			require.Len(t, w.s.Status.Runs, 1)
		}
	}
}

func TestRetentionKeepsWhatIsNotRecorded(t *testing.T) {
	w := unrecorded(t, func(s *v1alpha1.VMScheduleSpec) { s.Retention.KeepLast = 2 })
	w.end("web", v1alpha1.BackupFailed).at(hour(11).Add(time.Minute))
	require.Equal(t, hour(11), w.s.Status.LastNominalTime.UTC(), "it is recorded before anything goes")
	require.EqualValues(t, 1, w.s.Status.ConsecutiveFailures)
}

func TestPointsThatTellOfNoRun(t *testing.T) {
	for name, change := range map[string]func(*world, *v1alpha1.VMBackup){
		"of another name":    func(_ *world, b *v1alpha1.VMBackup) { b.Name = "mine" },
		"of a selector":      func(w *world, _ *v1alpha1.VMBackup) { w.s.Spec.VM, w.s.Spec.Selector = "", &metav1.LabelSelector{} },
		"of a time to come":  func(w *world, _ *v1alpha1.VMBackup) { w.now = hour(11).Add(-time.Second) },
		"before it was made": func(w *world, _ *v1alpha1.VMBackup) { w.s.Status.Timetable.Since = metav1.NewTime(hour(11)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := unrecorded(t)
			w.now = hour(11).Add(time.Second)
			change(w, &w.points[1])
			p := &planner{View: View{Now: w.now, Schedule: w.s, Points: w.points}, spec: &w.s.Spec, st: w.s.Status.DeepCopy()}
			p.index()
			p.adopt()
			require.Equal(t, w.s.Status.Runs, p.st.Runs)
			require.Equal(t, hour(10), p.st.LastNominalTime.UTC())
		})
	}
}

func TestRunsThatAreRecordedLater(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		want   bool
	}{
		"nothing else":       {func(*world) {}, true},
		"another was missed": {func(w *world) { w.s.Status.LastNominalTime = stamp(hour(9)) }, false},
		"the one before ended": {func(w *world) {
			w.s.Status.Runs = []v1alpha1.ScheduleRun{{NominalTime: metav1.NewTime(hour(10)), Points: 1}}
		}, false},
		"edited":                 {func(w *world) { w.s.Generation++ }, false},
		"of a selector":          {func(w *world) { w.s.Spec.VM, w.s.Spec.Selector = "", &metav1.LabelSelector{} }, false},
		"spread":                 {func(w *world) { w.s.Spec.JitterSeconds = 600 }, false},
		"points go with it":      {func(w *world) { w.s.Spec.PointsOnDelete = v1alpha1.PointsDelete }, false},
		"its VM is gone":         {func(w *world) { w.vms = nil }, false},
		"the one before goes on": {func(w *world) { w.points[0].Status.Phase = v1alpha1.BackupUploading }, false},
		"a point is to go": {func(w *world) {
			failed := w.points[0]
			failed.Name, failed.Status.Phase = "failed", v1alpha1.BackupFailed
			failed.Annotations = map[string]string{v1alpha1.AnnotationNominalTime: hour(9).Format(v1alpha1.NominalTimeLayout)}
			w.points = append(w.points, failed)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).at(t0).run(10, v1alpha1.BackupReady)
			c.change(w)
			before := w.s.DeepCopy()
			w.at(hour(11))
			require.Equal(t, c.want, RecordsLater(before, w.last), "%+v", w.last)
		})
	}
}
