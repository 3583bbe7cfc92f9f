package metrics

import (
	"slices"
	"strings"
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

// schedules are the VMSchedules, and what their points say. It lives from scrape to
// scrape, as vms does.
type schedules struct {
	now func() time.Time
	// all are sorted by namespace and name.
	all   []*planned
	of    map[types.UID]*planned
	round int
	// longest remembers the longest pauses of timetables: of ten thousand schedules
	// there are a few.
	longest map[timetable]time.Duration
}

// planned is one VMSchedule with its newest Ready point of each VM.
type planned struct {
	*v1alpha1.VMSchedule
	newest []newestOf
	// place maps a VM -> its place in newest, where these are more than a few.
	place map[string]int
	round int

	timetable timetable
	pause     time.Duration // of the timetable; 0: it cannot be read
	labels    *labels
	status    stated
	// named are the labels of the schedule's points, of type kind, of the VM that it
	// names, and byVM those of its points of each VM that a selector has picked.
	named *labels
	byVM  map[string]*labels
	kind  string
}

// newestOf is when the newest point of a VM was cut.
type newestOf struct {
	vm  string
	cut time.Time
}

// fewVMs are found faster by looking at each.
const fewVMs = 8

// begin a scrape with the schedules that exist now.
func (s *schedules) begin(list []*v1alpha1.VMSchedule) {
	if s.of == nil {
		s.of, s.longest = make(map[types.UID]*planned, len(list)), map[timetable]time.Duration{}
	}
	s.round++
	changed := false
	for _, o := range list {
		p := s.of[o.UID]
		if p == nil || p.Namespace != o.Namespace || p.Name != o.Name {
			p, changed = &planned{labels: by("namespace", o.Namespace, "schedule", o.Name)}, true
			s.of[o.UID] = p
			s.all = append(s.all, p)
		}
		p.VMSchedule, p.newest, p.place, p.round = o, p.newest[:0], nil, s.round
		if key := (timetable{o.Spec.Cron, o.Spec.TimeZone}); p.timetable != key {
			p.timetable, p.pause = key, s.pause(key)
		}
	}
	if !changed && len(s.all) == len(list) {
		return
	}
	s.all = slices.DeleteFunc(s.all, func(p *planned) bool {
		gone := p.round != s.round
		if gone && s.of[p.UID] == p {
			delete(s.of, p.UID)
		}
		return gone
	})
	s.all = sortedObjects(s.all)
}

// good takes note of when the newest Ready point that one made of a VM that exists
// was cut.
func (s *schedules) good(schedule types.UID, vm string, cut time.Time) {
	p := s.of[schedule]
	if p == nil {
		return
	}
	if i := p.find(vm); i < 0 {
		p.add(newestOf{vm, cut})
	} else if cut.After(p.newest[i].cut) {
		p.newest[i].cut = cut
	}
}

// find is a VM's place in newest, -1 when it has none.
func (p *planned) find(vm string) int {
	if p.place != nil {
		if i, ok := p.place[vm]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(p.newest, func(of newestOf) bool { return of.vm == vm })
}

func (p *planned) add(one newestOf) {
	p.newest = append(p.newest, one)
	switch n := len(p.newest); {
	case n < fewVMs:
	case n == fewVMs:
		p.place = map[string]int{}
		for i, of := range p.newest {
			p.place[of.vm] = i
		}
	default:
		p.place[one.vm] = n - 1
	}
}

// covers tells the VMs which of them an active schedule takes points of: the one
// that it names, and those that it has taken points of. Which ones a selector
// picks next, only the next run knows.
func (s *schedules) covers(v *vms) {
	for _, p := range s.all {
		if p.Spec.Suspend {
			continue
		}
		if p.Spec.VM != "" {
			v.cover(vmKey{p.Namespace, p.Spec.VM})
		}
		for _, of := range p.newest {
			if of.vm != p.Spec.VM {
				v.cover(vmKey{p.Namespace, of.vm})
			}
		}
	}
}

func (s *schedules) collect(out *Samples) {
	for _, p := range s.all {
		l, kind, state := p.labels, string(p.Spec.Type), scheduleState(p.VMSchedule)
		if p.kind != kind {
			p.kind, p.named, p.byVM, p.status = kind, nil, nil, stated{}
		}
		out.set(scheduleStatus, 1, p.status.of(state, func() *labels {
			return by("namespace", p.Namespace, "schedule", p.Name, "state", state, "type", kind)
		}))
		if p.pause > 0 {
			out.set(scheduleInterval, p.pause.Seconds(), l)
		}
		if n := p.Status.ConsecutiveFailures; n > 0 {
			out.set(scheduleFailures, float64(n), l)
		}
		if n := p.Status.MissedRuns; n > 0 {
			out.set(scheduleMissed, float64(n), l)
		}
		if n := p.Status.SkippedRuns; n > 0 {
			out.set(scheduleSkipped, float64(n), l)
		}
		if len(p.newest) == 0 {
			since := p.CreationTimestamp.Time
			if p.Status.Timetable != nil {
				since = p.Status.Timetable.Since.Time
			}
			out.set(scheduleSince, seconds(since), l)
		}
		slices.SortFunc(p.newest, func(a, b newestOf) int { return strings.Compare(a.vm, b.vm) })
		for _, of := range p.newest {
			out.set(scheduleLastGood, seconds(of.cut), p.labelsOf(of.vm))
		}
	}
}

// labelsOf the schedule's points of a VM. Those of VMs that it has no points of any
// more are forgotten once they are more than the others.
func (p *planned) labelsOf(vm string) *labels {
	l := p.byVM[vm]
	if vm == p.Spec.VM {
		l = p.named
	}
	if l != nil {
		return l
	}
	l = by("namespace", p.Namespace, "schedule", p.Name, "type", p.kind, "vm", vm)
	if vm == p.Spec.VM { // it cannot be changed
		p.named = l
		return l
	}
	if p.byVM == nil || len(p.byVM) > 2*len(p.newest) {
		p.byVM = make(map[string]*labels, len(p.newest))
	}
	p.byVM[vm] = l
	return l
}

type timetable struct{ cron, zone string }

// pause is the longest of a timetable; 0 for an expression that cannot be read: its
// schedule says so.
func (s *schedules) pause(key timetable) time.Duration {
	d, ok := s.longest[key]
	if !ok {
		if len(s.longest) > 2*len(s.all)+fewVMs {
			clear(s.longest) // of schedules that have changed since
		}
		d = longestPause(key, s.now())
		s.longest[key] = d
	}
	return d
}

func longestPause(key timetable, from time.Time) time.Duration {
	t, err := schedule.Parse(key.cron, key.zone, from)
	if err != nil {
		return 0
	}
	return t.LongestPause(from)
}
