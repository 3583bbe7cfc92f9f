// Package upgrade brings Hayloft's work to rest before an upgrade, of Hayloft
// itself or of the cluster below it, and has it go on afterwards. The command
// line and the HTTP API offer the same three steps: Check tells what is in the
// way, Prepare suspends the schedules and cancels if it is told to, Finish
// resumes just those.
//
// Which schedules were suspended stands on the schedules themselves, put there
// by the write that suspends them. So nothing can be lost or out of step
// whoever is killed in between, and each step can be made again. A schedule that
// somebody else suspends or resumes meanwhile is theirs from then on.
//
// It upgrades nothing, and keeps nobody from asking for another backup.
package upgrade

import (
	"fmt"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
	"hayloft.dev/pkg/words"
)

// Report is what Check found.
type Report struct {
	// Blockers are what is in the way; without any an upgrade can begin.
	Blockers []Blocker `json:"blockers"`
	// Suspended are the schedules that Finish would resume.
	Suspended []Suspended `json:"suspended"`
}

// Blocker is one object that is in the way of an upgrade.
type Blocker struct {
	// Kind is VMSchedule, VMBackup or VMRestore.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// State is the phase of a backup or restore; Active, Waiting or Running of a
	// schedule.
	State string `json:"state"`
	// Message says what it is doing, "" when nobody has said.
	Message string `json:"message,omitempty"`
}

// States of a schedule that is in the way.
const (
	Active  = "Active"  // it may begin a run at any time
	Waiting = "Waiting" // it was suspended after failures, and resumes by itself
	Running = "Running" // a run that it has begun goes on
)

// Suspended is a schedule that was suspended for an upgrade.
type Suspended struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Reason is the sentence that was given for it.
	Reason string `json:"reason"`
}

// Ready tells whether an upgrade can begin.
func (r Report) Ready() bool { return len(r.Blockers) == 0 }

// ofSchedule is nil for one that is not in the way.
func ofSchedule(s *v1alpha1.VMSchedule) *Blocker {
	b := &Blocker{Kind: "VMSchedule", Namespace: s.Namespace, Name: s.Name}
	switch {
	case active(s):
		b.State, b.Message = Active, "it may begin a run at any time"
		if s.Status.NextTime != nil {
			b.Message = "its next run is at " + s.Status.NextTime.UTC().Format("2006-01-02 15:04:05 UTC")
		}
	case resumes(s):
		b.State = Waiting
		b.Message = fmt.Sprintf("failures have suspended it, and it resumes by itself when BackupTarget %s has been Ready for %d s", s.Spec.Target, *s.Spec.ResumeAfterTargetReadySeconds)
	case len(s.Status.Runs) > 0:
		run := s.Status.Runs[0]
		b.State = Running
		b.Message = fmt.Sprintf("its run of %s has made %s and has %s to come", run.NominalTime.UTC().Format("2006-01-02 15:04:05 UTC"),
			words.Count(int(run.Points), "point"), words.Count(len(run.Pending), "VM"))
	default:
		return nil
	}
	return b
}

// ofBackup is nil for one that is not in the way. A deletion is none: whoever
// comes next goes on with it.
func ofBackup(p *v1alpha1.VMBackup) *Blocker {
	switch p.Status.Phase {
	case "", v1alpha1.BackupPending, v1alpha1.BackupCutting, v1alpha1.BackupUploading, v1alpha1.BackupVerifying:
	default:
		return nil
	}
	if !p.DeletionTimestamp.IsZero() {
		return nil
	}
	s := status.OfBackup(p)
	return &Blocker{Kind: "VMBackup", Namespace: p.Namespace, Name: p.Name, State: phase(s.Phase), Message: s.Why}
}

// ofRestore is nil for one that is not in the way.
func ofRestore(r *v1alpha1.VMRestore) *Blocker {
	if status.RestoreEnded(r) {
		return nil
	}
	s := status.OfRestore(r)
	return &Blocker{Kind: "VMRestore", Namespace: r.Namespace, Name: r.Name, State: phase(s.Phase), Message: s.Why}
}

func phase(s string) string {
	if s == "" {
		return string(v1alpha1.BackupPending)
	}
	return s
}

// active tells whether a schedule may begin a run.
func active(s *v1alpha1.VMSchedule) bool { return !s.Spec.Suspend && s.DeletionTimestamp.IsZero() }

// byUpgrade tells whether a schedule was suspended for an upgrade, and is still by
// nobody else.
func byUpgrade(s *v1alpha1.VMSchedule) bool { return marked(s) && !takenOver(s) }

// byOthers tells whether a schedule that bears an upgrade's mark was suspended by
// somebody else since.
func byOthers(s *v1alpha1.VMSchedule) bool { return marked(s) && takenOver(s) }

func marked(s *v1alpha1.VMSchedule) bool {
	return s.Spec.Suspend && s.Annotations[v1alpha1.AnnotationSuspendedBy] == v1alpha1.SuspendedByUpgrade && s.DeletionTimestamp.IsZero()
}

// resumes tells whether a schedule that failures have suspended may go on by itself
// at any time.
func resumes(s *v1alpha1.VMSchedule) bool {
	return s.Spec.Suspend && s.Spec.ResumeAfterTargetReadySeconds != nil && !held(s) &&
		s.Annotations[v1alpha1.AnnotationSuspendedBy] == v1alpha1.SuspendedByCoordinator && s.DeletionTimestamp.IsZero()
}

// held tells whether an upgrade keeps a schedule from that.
func held(s *v1alpha1.VMSchedule) bool {
	_, ok := s.Annotations[v1alpha1.AnnotationHeld]
	return ok && s.Spec.Suspend
}
