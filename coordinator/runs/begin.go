package runs

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
	"hayloft.dev/pkg/words"
)

// Bounds of what a status holds; the CRD has the same ones.
const (
	maxRuns = 1000
	maxVMs  = 10000
)

// begin finds out whether a run is due, and records it with the VMs of which it
// makes points. The points are made only when that stands, so nobody makes the
// run a second time, whatever becomes of its points.
func (p *planner) begin() {
	past := schedule.Past{Since: p.st.Timetable.Since.Time}
	if p.st.LastNominalTime != nil {
		past.Last = p.st.LastNominalTime.Time
	}
	var late schedule.Lateness
	if d := p.spec.StartingDeadlineSeconds; d != nil {
		late.Deadline = time.Duration(*d) * time.Second
		// A schedule of seconds loses none of its runs to a change of leader.
		late.Each = min(late.Deadline, time.Minute)
	}
	due := p.table.Due(past, p.Now, late)
	p.in.Timetable = &p.table
	if due.Missed > 0 && p.mayLack() {
		p.in.Need.Live = true
		return
	}
	if due.Ahead > behind {
		p.refuse(ReasonClockSetBack, fmt.Sprintf("the last run was that of %s, which this coordinator's clock has not reached: it was set back, and nothing runs a second time; the next run is that of %s. If the clock is right now and was ahead before, change spec.cron or spec.timeZone, and the schedule begins anew",
			said(past.Last), said(due.Next)))
	}
	if !due.Run.IsZero() && !p.known() {
		return
	}
	p.st.NextTime = stamp(due.Next)
	if due.Last.After(past.Last) {
		p.st.LastNominalTime = stamp(due.Last)
	}
	if due.Missed > 0 {
		p.st.MissedRuns += due.Missed
		p.warn("RunsMissed", fmt.Sprintf("%s up to %s passed without a run: nobody could run the schedule in time", words.Count(int(due.Missed), "nominal time"), said(due.Last)))
	}
	if due.Run.IsZero() {
		return
	}
	if !due.Next.After(p.Now) {
		p.again(0)
	}
	spread := time.Duration(p.spec.JitterSeconds) * time.Second
	if due.CatchUp {
		spread = max(spread, min(p.Config.CatchUpSpread, due.Next.Sub(due.Run)/10))
	}
	p.start(v1alpha1.ScheduleRun{
		NominalTime: metav1.NewTime(due.Run), BeganAt: metav1.NewTime(p.Now), SpreadSeconds: int32(spread / time.Second),
	})
}

// known asks for what a run must know before it begins: its VMs, and the points
// of former runs that the cache does not show.
func (p *planner) known() bool {
	p.in.Need.VMs = p.VMs == nil
	if !p.Live {
		for i := range p.st.Runs {
			r := &p.st.Runs[i]
			p.in.Need.Live = p.in.Need.Live || int32(len(p.pointsOf(r))) < r.Points
		}
	}
	return p.in.Need == Need{}
}

// start begins a run with those VMs whose former run of this schedule has ended.
func (p *planner) start(r v1alpha1.ScheduleRun) {
	at := said(r.NominalTime.Time)
	vms := p.VMs.Names
	switch {
	case len(vms) == 0 && p.spec.Selector == nil:
		message := fmt.Sprintf("there is no VirtualMachine %q in namespace %s (spec.vm): delete this schedule, or make the VM again", p.spec.VM, p.Schedule.Namespace)
		p.failed(&v1alpha1.ScheduleResult{NominalTime: r.NominalTime, EndedAt: metav1.NewTime(p.Now), Message: message})
		return
	case len(vms) == 0:
		p.result(&v1alpha1.ScheduleResult{NominalTime: r.NominalTime, EndedAt: metav1.NewTime(p.Now), Message: "spec.selector picks no VirtualMachine"})
		p.warn("NothingSelected", fmt.Sprintf("the run of %s made no point: spec.selector picks no VirtualMachine", at))
		return
	case len(vms) > maxVMs:
		message := fmt.Sprintf("spec.selector picks %d VirtualMachines, and %d are the most: make several schedules with narrower selectors", len(vms), maxVMs)
		p.failed(&v1alpha1.ScheduleResult{NominalTime: r.NominalTime, EndedAt: metav1.NewTime(p.Now), Message: message})
		return
	}
	busy := p.busy()
	var skipped []string
	for _, vm := range vms {
		if busy[vm] || len(p.st.Runs) >= maxRuns {
			skipped = append(skipped, vm)
		} else {
			r.Pending = append(r.Pending, vm)
		}
	}
	if n := len(skipped); n > 0 {
		p.st.SkippedRuns += int64(n)
		p.warn("RunSkipped", fmt.Sprintf("the run of %s left out %s: the former run of %s has not ended", at, list(skipped), words.Verb(n, "it", "each of them")))
	}
	if len(r.Pending) > 0 {
		p.st.Runs = append(p.st.Runs, r)
	}
}

// busy are the VMs of which this schedule is still making a point.
func (p *planner) busy() map[string]bool {
	out := map[string]bool{}
	for _, r := range p.st.Runs {
		for _, vm := range r.Pending {
			out[vm] = true
		}
	}
	for i := range p.Points {
		if b := &p.Points[i]; !Ended(b) {
			out[b.Spec.VM] = true
		}
	}
	return out
}

// leaveOut lets go of points that are still to be made: all of a schedule that is
// suspended, also those that a jitter has put off, and those that came too late,
// since their leader had ended. One that was made and not recorded, since the
// suspension came between, or its leader's end, is none that was skipped.
func (p *planner) leaveOut() {
	for i := range p.st.Runs {
		r := &p.st.Runs[i]
		var out, pending []string
		for _, vm := range r.Pending {
			if p.spec.Suspend || p.late(r, vm) {
				out = append(out, vm)
			} else {
				pending = append(pending, vm)
			}
		}
		switch {
		case len(out) == 0:
			continue
		case !p.Live:
			p.in.Need.Live = true
			return
		}
		made := map[string]bool{}
		for _, b := range p.pointsOf(r) {
			made[b.Spec.VM] = true
		}
		skipped := slices.DeleteFunc(slices.Clone(out), func(vm string) bool { return made[vm] })
		r.Points += int32(len(out) - len(skipped))
		r.Pending = pending
		p.st.SkippedRuns += int64(len(skipped))
		if len(skipped) > 0 && !p.spec.Suspend {
			p.warn("RunSkipped", fmt.Sprintf("the run of %s left out %s: no point was made within spec.startingDeadlineSeconds (%d)",
				said(r.NominalTime.Time), list(skipped), *p.spec.StartingDeadlineSeconds))
		}
	}
}

// late tells whether the time of a VM's point has passed by more than the starting
// deadline.
func (p *planner) late(r *v1alpha1.ScheduleRun, vm string) bool {
	d := p.spec.StartingDeadlineSeconds
	// BeganAt is stored in whole seconds.
	return d != nil && p.Now.Sub(r.BeganAt.Time)-p.delay(r, vm) > time.Duration(*d+1)*time.Second
}

// delay is how long after its run began a VM's point is made.
func (p *planner) delay(r *v1alpha1.ScheduleRun, vm string) time.Duration {
	return schedule.Jitter(time.Duration(r.SpreadSeconds)*time.Second, string(p.Schedule.UID), vm)
}

// make has the points made whose time within their run's spread has come.
func (p *planner) make() {
	for i := range p.st.Runs {
		r := &p.st.Runs[i]
		for _, vm := range r.Pending {
			wait := p.delay(r, vm) - p.Now.Sub(r.BeganAt.Time)
			switch {
			case r.SpreadSeconds > 0 && wait > 0:
				p.again(wait)
			case len(p.in.Create) == perPass:
				p.again(0)
				return
			default:
				p.in.Create = append(p.in.Create, Point(p.Schedule, vm, r.NominalTime.Time))
			}
		}
	}
}

// Made is a status after points of its runs were made, or were refused by the
// API server for good: refused maps a VM -> why.
func Made(st *v1alpha1.VMScheduleStatus, made []*v1alpha1.VMBackup, refused map[*v1alpha1.VMBackup]string) {
	type key struct {
		vm string
		at int64
	}
	of := func(b *v1alpha1.VMBackup) key {
		at, _ := Nominal(b)
		return key{b.Spec.VM, at.Unix()}
	}
	took, why := map[key]bool{}, map[key]string{}
	for _, b := range made {
		took[of(b)] = true
	}
	for b, reason := range refused {
		why[of(b)] = reason
	}
	for i := range st.Runs {
		r := &st.Runs[i]
		var pending []string
		for _, vm := range r.Pending {
			k := key{vm, r.NominalTime.Unix()}
			reason, no := why[k]
			switch {
			case took[k]:
				r.Points++
			case no:
				r.Refused++
				r.Message = cut(reason)
			default:
				pending = append(pending, vm)
			}
		}
		r.Pending = pending
	}
}

// list names the first of many VMs for a person.
func list(vms []string) string {
	const most = 3
	out := "VM "
	for i, vm := range vms {
		switch {
		case i == most:
			return out + fmt.Sprintf(" and %d more", len(vms)-most)
		case i > 0:
			out += ", "
		}
		out += vm
	}
	return out
}
