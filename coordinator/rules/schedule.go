package rules

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// ScheduleFacts is what the rules for a VMSchedule look at.
type ScheduleFacts struct {
	Schedule *v1alpha1.VMSchedule
	// Others are the other schedules of its namespace.
	Others []v1alpha1.VMSchedule
	// Target is nil when there is no such BackupTarget; not looked at for type
	// Snapshot.
	Target *v1alpha1.BackupTarget
	// Uses are what TargetUse says of it.
	Uses []Refusal
	// VMs are those that exist of what it names or selects.
	VMs []string
}

// Timing are the reasons against a schedule's times and numbers, beside others
// that it must keep a distance from, and against its selector.
func Timing(s *v1alpha1.VMSchedule, others []v1alpha1.VMSchedule) []Refusal {
	var out []Refusal
	for _, sentence := range schedule.Refusals(s, others) {
		out = append(out, Refusal{Reason: Refused, Sentence: sentence})
	}
	if _, err := metav1.LabelSelectorAsSelector(s.Spec.Selector); err != nil {
		out = append(out, refusal(Refused, "spec.selector: %v: write it as for kubectl get -l", err))
	}
	return out
}

// Schedule are the reasons not to create a schedule, and what its user should
// know though it is created.
func Schedule(f ScheduleFacts) (refusals []Refusal, warnings []string) {
	s := f.Schedule
	out := append(Timing(s, f.Others), scheduleTarget(f)...)
	switch {
	case len(f.VMs) > 0:
	case s.Spec.Selector != nil:
		warnings = append(warnings, "spec.selector picks no VirtualMachine at present; it is asked anew for each run")
	default:
		out = append(out, refusal(Refused, "there is no VirtualMachine %q in namespace %s (spec.vm): name one that exists", s.Spec.VM, s.Namespace))
	}
	if s.Spec.Type != v1alpha1.TypeSnapshot && f.Target != nil && readiness(f.Target) == nil {
		warnings = append(warnings, fmt.Sprintf("BackupTarget %s was not tried out yet; its condition Ready tells whether it can be used", f.Target.Name))
	}
	return out, warnings
}

// ScheduleChange are the reasons against a change of a schedule. Of what stays
// as it was nothing is refused, or a schedule that has come to break a rule could
// not even be suspended.
func ScheduleChange(before *v1alpha1.VMSchedule, f ScheduleFacts) []Refusal {
	s := f.Schedule
	var out []Refusal
	if !schedule.SameTimes(before, s) {
		out = append(out, Timing(s, f.Others)...)
	}
	resumed := before.Spec.Suspend && !s.Spec.Suspend
	switch {
	case s.Spec.Type == v1alpha1.TypeSnapshot:
	case before.Spec.Target != s.Spec.Target:
		out = append(out, scheduleTarget(f)...)
	case resumed && f.Target == nil:
		out = append(out, refusal(TargetNotFound, "there is no BackupTarget %q (spec.target): create it before the schedule is resumed, or name another", s.Spec.Target))
	case resumed && (len(f.Uses) > 0 || !f.Target.DeletionTimestamp.IsZero()):
		out = append(out, scheduleTarget(f)...)
	case resumed && !meta.IsStatusConditionTrue(f.Target.Status.Conditions, v1alpha1.ConditionReady):
		out = append(out, refusal(TargetNotReady, "spec.suspend: the schedule cannot be resumed while BackupTarget %s is not Ready (%s): resume it when the target is, or name another in spec.target", f.Target.Name, unready(f.Target)))
	}
	return out
}

// ScheduleStays warns of what a change leaves as it is. A schedule that an upgrade has
// suspended is suspended already: who suspends it once more changes nothing, and no
// one but the webhook learns of it.
func ScheduleStays(before, now *v1alpha1.VMSchedule) (warnings []string) {
	byUpgrade := func(s *v1alpha1.VMSchedule) bool {
		return s.Spec.Suspend && s.Annotations[v1alpha1.AnnotationSuspendedBy] == v1alpha1.SuspendedByUpgrade
	}
	if byUpgrade(before) && byUpgrade(now) && now.DeletionTimestamp.IsZero() {
		warnings = append(warnings, fmt.Sprintf("VMSchedule %s is suspended for an upgrade, and hayloft upgrade finish resumes it: to keep it suspended after that, hayloft schedule suspend %s -n %s", now.Name, now.Name, now.Namespace))
	}
	return warnings
}

// scheduleTarget refuses a target that does not exist or is known not to work.
// One that nobody has tried out yet may have been created together with the
// schedule.
func scheduleTarget(f ScheduleFacts) []Refusal {
	s := f.Schedule
	if s.Spec.Type == v1alpha1.TypeSnapshot {
		return nil
	}
	switch ready := readiness(f.Target); {
	case len(f.Uses) > 0:
		return f.Uses
	case f.Target == nil:
		return []Refusal{refusal(TargetNotFound, "there is no BackupTarget %q (spec.target): create it, or name another", s.Spec.Target)}
	case !f.Target.DeletionTimestamp.IsZero():
		return []Refusal{refusal(TargetNotReady, "BackupTarget %q (spec.target) is being deleted: name another", s.Spec.Target)}
	case ready != nil && ready.Status != metav1.ConditionTrue:
		return []Refusal{refusal(TargetNotReady, "BackupTarget %q (spec.target) is not Ready (%s): wait until it is, or name another", s.Spec.Target, unready(f.Target))}
	}
	return nil
}

func readiness(t *v1alpha1.BackupTarget) *metav1.Condition {
	if t == nil {
		return nil
	}
	return meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady)
}

// unready is why a target is not Ready.
func unready(t *v1alpha1.BackupTarget) string {
	c := readiness(t)
	if c == nil {
		return "it was not tried out yet"
	}
	return c.Reason + ": " + c.Message
}
