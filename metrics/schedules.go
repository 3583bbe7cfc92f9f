package metrics

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

var (
	scheduleLastGood = define(Metric{
		Name: "hayloft_schedule_last_good_point_timestamp_seconds", Kind: Gauge, By: Leader, Labels: []string{"namespace", "schedule", "vm", "type"},
		Help: "The moment that the newest Ready point of the schedule stands for, for each VM that exists and has one.",
	})
	scheduleSince = define(Metric{
		Name: "hayloft_schedule_since_timestamp_seconds", Kind: Gauge, By: Leader, Labels: []string{"namespace", "schedule"},
		Help: "Since when a schedule that has no Ready point at all has had its timetable. No series: it has one.",
	})
	scheduleInterval = define(Metric{
		Name: "hayloft_schedule_interval_seconds", Kind: Gauge, By: Leader, Labels: []string{"namespace", "schedule"},
		Help: "The longest pause between two runs that the schedule's timetable makes within a year.",
	})
	scheduleStatus = define(Metric{
		Name: "hayloft_schedule_status_info", Kind: Gauge, By: Leader, Labels: []string{"namespace", "schedule", "type", "state"},
		Help: "1 for each VMSchedule. State: Active, SuspendedUser, SuspendedMaxFailures or SuspendedUpgrade.",
	})
	scheduleFailures = define(Metric{
		Name: "hayloft_schedule_consecutive_failures", Kind: Gauge, By: Leader, Labels: []string{"namespace", "schedule"},
		Help: "Runs that failed since one was good or the schedule was resumed. No series: none did.",
	})
	scheduleMissed = define(Metric{
		Name: "hayloft_schedule_missed_runs", Kind: Gauge, By: Leader, Labels: []string{"namespace", "schedule"},
		Help: "Runs that were never begun since the schedule was made: nobody could in time, or it was suspended. No series: none.",
	})
	scheduleSkipped = define(Metric{
		Name: "hayloft_schedule_skipped_runs", Kind: Gauge, By: Leader, Labels: []string{"namespace", "schedule"},
		Help: "Runs of single VMs that were left out since the schedule was made: the one before was still going. No series: none.",
	})
)

// stateActive is a schedule's that is not suspended; stateSuspended comes before
// who did that.
const (
	stateActive    = "Active"
	stateSuspended = "Suspended"
)

func scheduleState(s *v1alpha1.VMSchedule) string {
	if !s.Spec.Suspend {
		return stateActive
	}
	switch s.Annotations[v1alpha1.AnnotationSuspendedBy] {
	case v1alpha1.SuspendedByCoordinator:
		return stateSuspended + v1alpha1.SuspendedMaxFailures
	case v1alpha1.SuspendedByUpgrade:
		return stateSuspended + v1alpha1.SuspendedUpgrade
	}
	return stateSuspended + v1alpha1.SuspendedUser
}

// schedules are the VMSchedules, and what their points say.
type schedules struct {
	list []*v1alpha1.VMSchedule
	// active maps a schedule's UID -> whether it makes points.
	active map[types.UID]bool
	// newest maps a schedule and a VM -> its newest Ready point of it.
	newest map[scheduledVM]*v1alpha1.VMBackup
	vms    map[types.UID][]string // schedule -> VMs in newest
}

type scheduledVM struct {
	schedule types.UID
	vm       string
}

func newSchedules(list []*v1alpha1.VMSchedule) *schedules {
	out := &schedules{
		list: sortedObjects(list), active: make(map[types.UID]bool, len(list)),
		newest: make(map[scheduledVM]*v1alpha1.VMBackup, len(list)), vms: make(map[types.UID][]string, len(list)),
	}
	for _, s := range list {
		out.active[s.UID] = !s.Spec.Suspend
	}
	return out
}

// good takes note of a Ready point of a VM that exists.
func (s *schedules) good(b *v1alpha1.VMBackup) {
	uid := types.UID(b.Labels[v1alpha1.LabelSchedule])
	if _, exists := s.active[uid]; !exists || b.Status.CutAt == nil {
		return
	}
	key := scheduledVM{uid, b.Spec.VM}
	former := s.newest[key]
	if former == nil {
		s.vms[uid] = append(s.vms[uid], b.Spec.VM)
	}
	if former == nil || b.Status.CutAt.After(former.Status.CutAt.Time) {
		s.newest[key] = b
	}
}

// covers tells the VMs which of them an active schedule takes points of: the one
// that it names, and those that it has taken points of. Which ones a selector
// picks next, only the next run knows.
func (s *schedules) covers(v *vms) {
	for _, one := range s.list {
		if one.Spec.Suspend {
			continue
		}
		if one.Spec.VM != "" {
			v.cover(vmKey{one.Namespace, one.Spec.VM})
		}
		for _, vm := range s.vms[one.UID] {
			v.cover(vmKey{one.Namespace, vm})
		}
	}
}

func (s *schedules) collect(out *Samples, longest *intervals) {
	longest.used = map[timetable]time.Duration{}
	defer func() { longest.known = longest.used }()
	for _, one := range s.list {
		l := by("namespace", one.Namespace, "schedule", one.Name)
		kind := string(one.Spec.Type)
		out.set(scheduleStatus, 1, by("namespace", one.Namespace, "schedule", one.Name, "state", scheduleState(one), "type", kind))
		if d, ok := longest.of(one); ok {
			out.set(scheduleInterval, d.Seconds(), l)
		}
		if n := one.Status.ConsecutiveFailures; n > 0 {
			out.set(scheduleFailures, float64(n), l)
		}
		if n := one.Status.MissedRuns; n > 0 {
			out.set(scheduleMissed, float64(n), l)
		}
		if n := one.Status.SkippedRuns; n > 0 {
			out.set(scheduleSkipped, float64(n), l)
		}
		if len(s.vms[one.UID]) == 0 {
			since := one.CreationTimestamp.Time
			if one.Status.Timetable != nil {
				since = one.Status.Timetable.Since.Time
			}
			out.set(scheduleSince, seconds(since), l)
		}
		for _, vm := range s.vms[one.UID] {
			at := s.newest[scheduledVM{one.UID, vm}].Status.CutAt.Time
			out.set(scheduleLastGood, seconds(at), by("namespace", one.Namespace, "schedule", one.Name, "type", kind, "vm", vm))
		}
	}
}

// intervals remembers the longest pauses of timetables: of ten thousand schedules
// there are a few.
type intervals struct {
	now         func() time.Time
	known, used map[timetable]time.Duration
}

type timetable struct{ cron, zone string }

// of is false for an expression that cannot be read: its schedule says so.
func (i *intervals) of(s *v1alpha1.VMSchedule) (time.Duration, bool) {
	key := timetable{s.Spec.Cron, s.Spec.TimeZone}
	d, ok := i.known[key]
	if !ok {
		d = longestPause(key, i.now())
		i.known[key] = d
	}
	i.used[key] = d
	return d, d > 0
}

// pausesSeen bounds how many pauses are looked at: those of a whole year for
// whatever runs daily.
const pausesSeen = 370

func longestPause(key timetable, from time.Time) time.Duration {
	t, err := schedule.Parse(key.cron, key.zone, from)
	if err != nil {
		return 0
	}
	longest := time.Duration(0)
	former := t.Next(from)
	for range pausesSeen {
		next := t.Next(former)
		longest = max(longest, next.Sub(former))
		former = next
		if former.Sub(from) > 366*24*time.Hour {
			break
		}
	}
	return longest
}
