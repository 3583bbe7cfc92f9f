package runs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// t0 is when the schedule of these tests is made; it runs each hour.
var t0 = time.Date(2026, 11, 26, 9, 30, 0, 0, time.UTC)

func hour(h int) time.Time { return time.Date(2026, 11, 26, h, 0, 0, 0, time.UTC) }

// world is a schedule and its points over time, as the coordinator would keep
// them.
type world struct {
	t        *testing.T
	now      time.Time
	s        *v1alpha1.VMSchedule
	vms      []string
	points   []v1alpha1.VMBackup
	hidden   map[string]bool // points that the cache lacks
	refuse   []string        // what the rules say
	target   *v1alpha1.BackupTarget
	reads    map[types.UID][]string
	goesWith string
	config   Config
	// made and removed are names, in order; events are reasons.
	made, removed, events []string
	asked                 Need
	last                  Intent
}

func newWorld(t *testing.T, changes ...func(*v1alpha1.VMScheduleSpec)) *world {
	w := &world{t: t, now: t0, vms: []string{"web"}, hidden: map[string]bool{}, config: DefaultConfig()}
	w.s = &v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "hourly", UID: "s-uid", Generation: 1, CreationTimestamp: metav1.NewTime(t0)},
		Spec: v1alpha1.VMScheduleSpec{
			Cron: "0 * * * *", TimeZone: "UTC", VM: "web", Type: v1alpha1.TypeBackup, Target: "s3", MaxFailures: 3,
			Retention: v1alpha1.Retention{KeepLast: 4, MinGood: 1}, PointsOnDelete: v1alpha1.PointsRetain,
		},
	}
	for _, change := range changes {
		change(&w.s.Spec)
	}
	return w
}

// at plans at a time, and does what is intended.
func (w *world) at(now time.Time) *world {
	w.t.Helper()
	w.now = now
	v := View{Now: now, Schedule: w.s, Config: w.config, Target: w.target, Readers: w.reads, GoesWith: w.goesWith}
	for _, b := range w.points {
		if !w.hidden[b.Name] {
			v.Points = append(v.Points, b)
		}
	}
	w.asked = Need{}
	var in Intent
	for {
		in = Plan(v)
		if in.Need == (Need{}) {
			break
		}
		w.asked.Check, w.asked.VMs, w.asked.Live = w.asked.Check || in.Need.Check, w.asked.VMs || in.Need.VMs, w.asked.Live || in.Need.Live
		if in.Need.Check {
			require.Nil(w.t, v.Checked, "it asks for what it has")
			v.Checked = &Checked{Refusals: w.refuse}
		}
		if in.Need.VMs {
			require.Nil(w.t, v.VMs, "it asks for what it has")
			v.VMs = &VMs{Names: w.vms}
		}
		if in.Need.Live {
			require.False(w.t, v.Live, "it asks for what it has")
			v.Live, v.Points = true, w.points
		}
	}
	w.last = in
	w.s.Status = *in.Status.DeepCopy()
	for _, e := range in.Events {
		w.events = append(w.events, e.Reason)
	}
	notes := map[string]string{}
	switch {
	case in.Suspend != "":
		w.s.Spec.Suspend = true
		w.s.Generation++
		notes = map[string]string{v1alpha1.AnnotationSuspendedBy: v1alpha1.SuspendedByCoordinator, v1alpha1.AnnotationSuspendReason: in.Suspend}
		w.s.Annotations = notes
	case in.Resume:
		w.s.Spec.Suspend = false
		w.s.Generation++
		w.s.Annotations = notes
	case in.Unmark:
		w.s.Annotations = notes
	}
	for _, b := range in.Create {
		b.UID = types.UID(b.Name)
		b.CreationTimestamp = metav1.NewTime(now)
		w.points = append(w.points, *b)
		w.made = append(w.made, b.Annotations[v1alpha1.AnnotationNominalTime]+" "+b.Spec.VM)
	}
	Made(&w.s.Status, in.Create, nil)
	for _, r := range in.Remove {
		w.removed = append(w.removed, r.Point.Annotations[v1alpha1.AnnotationNominalTime]+" "+r.Point.Spec.VM)
		w.drop(r.Point.Name)
	}
	return w
}

func (w *world) drop(name string) {
	var left []v1alpha1.VMBackup
	for _, b := range w.points {
		if b.Name != name {
			left = append(left, b)
		}
	}
	w.points = left
}

// end gives all unfinished points of a VM a phase.
func (w *world) end(vm string, phase v1alpha1.BackupPhase) *world {
	for i := range w.points {
		if b := &w.points[i]; b.Spec.VM == vm && !Ended(b) {
			b.Status.Phase = phase
			b.Status.CompletedAt = stamp(w.now)
			if phase == v1alpha1.BackupFailed {
				b.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "NoSpace", Message: "the target is full"}}
			}
		}
	}
	return w
}

// run is a whole run at a full hour that ends a minute later.
func (w *world) run(h int, phase v1alpha1.BackupPhase) *world {
	w.t.Helper()
	w.at(hour(h))
	w.end("web", phase)
	return w.at(hour(h).Add(time.Minute))
}

func (w *world) condition(kind string) metav1.Condition {
	w.t.Helper()
	c := meta.FindStatusCondition(w.s.Status.Conditions, kind)
	require.NotNil(w.t, c, kind)
	return *c
}

// suspend and resume as a user does.
func (w *world) suspend(to bool) *world {
	w.s.Spec.Suspend = to
	w.s.Generation++
	return w
}
