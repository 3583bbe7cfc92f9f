package runs

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// Reasons of the condition Ready.
const (
	ReasonAccepted     = "Accepted"
	ReasonClockSetBack = "ClockSetBack"
)

// behind is how far the clock may be behind the last nominal time before that
// is said: two coordinators' clocks are never quite the same.
const behind = time.Minute

// accept tells whether the schedule may run by the rules. They are asked once
// for each generation, since they look at all other schedules; one that is
// refused is looked at again, as the others change.
func (p *planner) accept() bool {
	s := p.Schedule
	former := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	wasAccepted := former != nil && former.Status == metav1.ConditionTrue
	if s.Status.ObservedGeneration != s.Generation || !wasAccepted {
		if p.Checked == nil {
			p.in.Need.Check = true
			return false
		}
		if len(p.Checked.Refusals) > 0 {
			p.refuse(rules.Refused, strings.Join(p.Checked.Refusals, "; "))
			p.again(p.Config.RecheckEvery)
			return false
		}
	}
	table, err := schedule.Of(s)
	if err != nil {
		p.refuse(rules.Refused, err.Error())
		return false
	}
	p.table = table
	p.begins(former)
	message := fmt.Sprintf("runs at %s (%s)", p.spec.Cron, table.Location())
	if o := p.spec.SpacingOverride; o != nil {
		message += ", where spec.spacingOverride lifts the rules on spacing: " + o.Reason
	}
	p.ready = metav1.Condition{Status: metav1.ConditionTrue, Reason: ReasonAccepted, Message: message}
	return true
}

// begins records since when the expression holds. What it would have run before
// it was written, or while it was refused, is not made up for. Another expression
// is also the word by which a schedule goes on whose last run was recorded by a
// clock that was ahead.
func (p *planner) begins(former *metav1.Condition) {
	t := p.st.Timetable
	refused := former != nil && former.Reason == rules.Refused
	if t != nil && t.Cron == p.spec.Cron && t.TimeZone == p.spec.TimeZone && !refused {
		return
	}
	since := p.Schedule.CreationTimestamp
	if t != nil || refused {
		since = metav1.NewTime(p.Now)
	}
	changed := t != nil && (t.Cron != p.spec.Cron || t.TimeZone != p.spec.TimeZone)
	if last := p.st.LastNominalTime; changed && last != nil && last.Sub(p.Now) > behind {
		p.st.LastNominalTime = nil
	}
	p.st.Timetable = &v1alpha1.Timetable{Cron: p.spec.Cron, TimeZone: p.spec.TimeZone, Since: since}
}

// refuse says why the schedule does not run.
func (p *planner) refuse(reason, message string) {
	former := meta.FindStatusCondition(p.Schedule.Status.Conditions, v1alpha1.ConditionReady)
	if former == nil || former.Reason != reason || former.Message != message {
		p.warn(reason, message)
	}
	p.ready = metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

func (p *planner) setReady() {
	p.ready.Type, p.ready.ObservedGeneration, p.ready.LastTransitionTime = v1alpha1.ConditionReady, p.Schedule.Generation, metav1.NewTime(p.Now)
	meta.SetStatusCondition(&p.st.Conditions, p.ready)
}

// suspension keeps the condition Suspended, and begins anew where the schedule
// was resumed.
func (p *planner) suspension() {
	s := p.Schedule
	by := s.Annotations[v1alpha1.AnnotationSuspendedBy]
	_, held := s.Annotations[v1alpha1.AnnotationHeld]
	was := meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionSuspended)
	c := metav1.Condition{
		Type: v1alpha1.ConditionSuspended, Status: metav1.ConditionFalse, Reason: v1alpha1.NotSuspended,
		ObservedGeneration: s.Generation, LastTransitionTime: metav1.NewTime(p.Now),
	}
	switch {
	case p.spec.Suspend:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, suspendedBy(by), s.Annotations[v1alpha1.AnnotationSuspendReason]
		if c.Message == "" {
			c.Message = "spec.suspend is true: set it to false to resume"
		}
		switch {
		case was:
		case c.Reason == v1alpha1.SuspendedMaxFailures:
			p.warn("Suspended", c.Message)
		default:
			p.tell("Suspended", c.Message)
		}
		if !held {
			p.resumeByItself(by)
		}
	case was || by != "" || held:
		p.st.ConsecutiveFailures, p.st.FailingSince = 0, nil
		p.in.Unmark = by != "" || held
		if was {
			p.tell("Resumed", "the schedule runs again; what passed meanwhile is made up for once at most")
		}
	}
	meta.SetStatusCondition(&p.st.Conditions, c)
}

func suspendedBy(by string) string {
	switch by {
	case v1alpha1.SuspendedByCoordinator:
		return v1alpha1.SuspendedMaxFailures
	case v1alpha1.SuspendedByUpgrade:
		return v1alpha1.SuspendedUpgrade
	}
	return v1alpha1.SuspendedUser
}

// resumeByItself lifts a suspension that failures brought about, where that is
// wanted, the target's trouble began or lasted during these failures, and it has
// been well for long enough since.
func (p *planner) resumeByItself(by string) {
	wait := p.spec.ResumeAfterTargetReadySeconds
	if wait == nil || by != v1alpha1.SuspendedByCoordinator || p.st.FailingSince == nil || p.Target == nil {
		return
	}
	ready := meta.FindStatusCondition(p.Target.Status.Conditions, v1alpha1.ConditionReady)
	suspended := meta.FindStatusCondition(p.Schedule.Status.Conditions, v1alpha1.ConditionSuspended)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.LastTransitionTime.Before(p.st.FailingSince) {
		return
	}
	from := p.Now
	if suspended != nil && suspended.Status == metav1.ConditionTrue {
		from = suspended.LastTransitionTime.Time
	}
	if ready.LastTransitionTime.After(from) {
		from = ready.LastTransitionTime.Time
	}
	left := time.Duration(*wait)*time.Second - p.Now.Sub(from)
	if left > 0 {
		p.again(left)
		return
	}
	p.in.Resume = true
	p.tell("TargetReady", fmt.Sprintf("BackupTarget %s has been Ready for %d s again: the schedule is resumed, as spec.resumeAfterTargetReadySeconds asks", p.Target.Name, *wait))
}
