// Package runs decides what is to be done for a VMSchedule: which run begins,
// which points are made for it and when, how a run has ended and what follows
// from that, whether the schedule is suspended or resumed, and which points go.
//
// It is pure, as the package plan is: a view goes in, an intent comes out, and
// every intent is idempotent. What costs a request is not in a view from the
// start; an intent that needs it says so (Need), and the caller plans again with
// it. When a schedule runs is known to the package schedule, which points it
// keeps to the package retention; this one connects the two with what exists.
package runs

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// Config are the bounds that runs keep to.
type Config struct {
	// CatchUpSpread is the time over which runs are spread that were missed
	// together, while there was no leader or after an upgrade; a tenth of the
	// schedule's interval where that is less.
	CatchUpSpread time.Duration
	// RecheckEvery is the time between two looks at whether a schedule that was
	// refused may run now.
	RecheckEvery time.Duration
}

// DefaultConfig is for production.
func DefaultConfig() Config {
	return Config{CatchUpSpread: time.Minute, RecheckEvery: time.Minute}
}

// View is what a decision looks at.
type View struct {
	Now      time.Time
	Schedule *v1alpha1.VMSchedule
	// Points are those that the schedule made and that exist, to be read only.
	Points []v1alpha1.VMBackup
	// Live: Points and Readers were listed after the schedule was read. Otherwise
	// they come from a cache, which may lack the newest.
	Live bool
	// Readers maps a point -> the restores that read it.
	Readers map[types.UID][]string
	// GoesWith names what is being deleted around a schedule that is being
	// deleted, its namespace or its kind; known once Live is set.
	GoesWith string
	// Checked is nil until somebody looked.
	Checked *Checked
	// VMs is nil until somebody looked.
	VMs *VMs
	// Target is nil when there is none of that name, and for type Snapshot.
	Target *v1alpha1.BackupTarget
	Config Config
}

// Checked is what the rules say of a schedule.
type Checked struct{ Refusals []string }

// VMs are those of which a run makes points, by name and in order: the one that
// the schedule names if it exists, or what its selector picks.
type VMs struct{ Names []string }

// Need is what a decision lacks.
type Need struct {
	// Check asks for View.Checked, VMs for View.VMs, Live for the points and
	// their readers to be listed live.
	Check, VMs, Live bool
}

// Intent is what is to be done, in the order of its fields.
type Intent struct {
	// Need is set: everything else is to be left until it was planned again.
	Need Need
	// AddFinalizer comes first.
	AddFinalizer bool
	// Status is to be written if it differs, under the resource version that the
	// view was made of. What follows is done only once it stands.
	Status v1alpha1.VMScheduleStatus
	// Suspend is a sentence that says why the schedule is to be suspended.
	Suspend string
	// Resume lifts the coordinator's own suspension. Unmark removes what is left
	// of the note who had suspended it.
	Resume, Unmark bool
	// Create are points to be made, by names that are always the same: one that
	// exists already is made.
	Create []*v1alpha1.VMBackup
	// Remove are points that are to be deleted as they were seen.
	Remove []Removal
	// DropFinalizer comes last.
	DropFinalizer bool
	Events        []plan.Event
	// Timetable is what the schedule is to be woken at; nil: never.
	Timetable *schedule.Timetable
	// After says when to look again besides that; 0: not at all.
	After time.Duration
}

// Removal is a point that retention, or the schedule's end, removes.
type Removal struct {
	Point *v1alpha1.VMBackup
	Why   string
}

// perPass bounds what one pass makes and removes, so that no schedule keeps the
// others waiting.
const perPass = 50

// Plan decides on a schedule.
func Plan(v View) Intent {
	p := &planner{View: v, spec: &v.Schedule.Spec, st: v.Schedule.Status.DeepCopy()}
	p.index()
	if !v.Schedule.DeletionTimestamp.IsZero() {
		p.end()
	} else {
		p.run()
	}
	p.in.Status = *p.st
	return p.in
}

// planner is one decision on its way.
type planner struct {
	View
	spec *v1alpha1.VMScheduleSpec
	st   *v1alpha1.VMScheduleStatus
	in   Intent

	byVM  map[string][]*v1alpha1.VMBackup
	byRun map[int64][]*v1alpha1.VMBackup // nominal time in Unix seconds -> its points
	table schedule.Timetable
	ready metav1.Condition
}

func (p *planner) run() {
	p.in.AddFinalizer = p.spec.PointsOnDelete == v1alpha1.PointsDelete
	p.in.DropFinalizer = !p.in.AddFinalizer
	accepted := p.accept()
	if p.in.Need != (Need{}) {
		return
	}
	p.adopt()
	p.suspension()
	p.leaveOut()
	p.closeRuns()
	p.st.NextTime = nil
	if accepted && !p.spec.Suspend && !p.exhausted() {
		p.begin()
	}
	p.limit()
	p.make()
	p.retain()
	p.st.ObservedGeneration = p.Schedule.Generation
	p.setReady()
}

// end lets a deleted schedule go, after its points were told to if that is
// wanted. They are not waited for: each has a finalizer of its own.
func (p *planner) end() {
	p.in.DropFinalizer = true
	if p.spec.PointsOnDelete != v1alpha1.PointsDelete {
		return
	}
	if !p.Live {
		p.in.Need.Live = true
		return
	}
	if p.GoesWith != "" {
		return // nobody has spoken about the schedule, nor about its points
	}
	for i := range p.Points {
		b := &p.Points[i]
		if b.Spec.Pinned || !b.DeletionTimestamp.IsZero() {
			continue
		}
		if len(p.in.Remove) == perPass {
			p.in.DropFinalizer = false
			p.again(0)
			return
		}
		p.in.Remove = append(p.in.Remove, Removal{Point: b, Why: "its schedule was deleted with spec.pointsOnDelete Delete"})
	}
}

// again makes sure that the schedule is looked at within d.
func (p *planner) again(d time.Duration) {
	d = max(d, 10*time.Millisecond)
	if p.in.After == 0 || d < p.in.After {
		p.in.After = d
	}
}

func (p *planner) tell(reason, message string) { p.event(corev1.EventTypeNormal, reason, message) }
func (p *planner) warn(reason, message string) { p.event(corev1.EventTypeWarning, reason, message) }

func (p *planner) event(kind, reason, message string) {
	p.in.Events = append(p.in.Events, plan.Event{Type: kind, Reason: reason, Message: message})
}
