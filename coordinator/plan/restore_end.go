package plan

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

// fail records the cause, on which the clean-up follows.
func (p *restorePlan) fail(disk, reason, message string) {
	for i := range p.st.Disks {
		if d := &p.st.Disks[i]; d.Name == disk {
			d.State, d.Message = v1alpha1.DiskFailed, message
		}
	}
	if reason == "" {
		reason = "Failed"
	}
	set(&p.st.Conditions, p.v.Now, p.v.Restore.Generation, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	p.a = Actions{Events: append(p.a.Events, Event{Type: corev1.EventTypeWarning, Reason: "Failed", Message: message})}
	p.out = RestoreIntent{}
	p.v.Cleaned = false
	p.failing()
}

// failing removes everything that this restore made.
func (p *restorePlan) failing() {
	if p.st.Phase == v1alpha1.RestoreFailed && ended(p.st.Conditions) {
		p.end()
		return
	}
	if p.st.CompletedAt == nil {
		now := metav1.NewTime(p.v.Now)
		p.st.CompletedAt = &now
	}
	if p.clean() {
		p.st.Phase = v1alpha1.RestoreFailed
		p.progressing(metav1.ConditionFalse, ReasonCleanedUp, "nothing of this restore is left")
		p.a.DropFinalizer = true
		return
	}
	p.progressing(metav1.ConditionTrue, ReasonCleaningUp, "removing what was made so far")
	if remaining(p.v.Now, failure(p.st.Conditions).LastTransitionTime.Time, p.v.Config.CleanPatience) == 0 {
		p.st.Phase = v1alpha1.RestoreFailed
	}
}

// clean is true when nothing of the restore is left. Its jobs go first: their
// volumes belong to nobody else, so a transfer into one may be cut off.
func (p *restorePlan) clean() bool {
	if p.st.StartedAt == nil || (p.v.Cleaned && len(p.v.Jobs) == 0) {
		return true
	}
	p.a.DropJobs = len(p.v.Jobs) > 0
	p.out.Clean = true
	p.a.again(p.v.Config.WorkRetry)
	return false
}

// deletion removes what an unfinished restore made; a finished one leaves its
// VM to its user.
func (p *restorePlan) deletion() {
	if p.clean() {
		p.a.DropFinalizer = true
		return
	}
	p.st.Phase = v1alpha1.RestoreDeleting
	p.progressing(metav1.ConditionTrue, ReasonCleaningUp, "removing what was made so far")
}

// end drops what a finished restore does not need any more.
func (p *restorePlan) end() {
	p.a.DropJobs = len(p.v.Jobs) > 0
	p.a.DropFinalizer = true
}
