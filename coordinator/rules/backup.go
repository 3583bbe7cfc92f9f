package rules

import "hayloft.dev/pkg/api/v1alpha1"

// BackupFacts is what the rules for a new VMBackup look at. That its name is
// free is the API server's to say: points of both types are of one kind.
type BackupFacts struct {
	Backup *v1alpha1.VMBackup
	// Target is nil when there is no such BackupTarget; not looked at for type
	// Snapshot.
	Target *v1alpha1.BackupTarget
	// Uses are what TargetUse and Target say of it.
	Uses []Refusal
	// Source is nil when there is no such VM.
	Source *Source
	// Space are sentences on the limits of the namespace that the point would
	// break; what they are is for the package quota.
	Space []string
}

// Backup are the reasons not to begin a point. Whether the target answers is
// for the planner to find out, which has it probed.
func Backup(f BackupFacts) []Refusal {
	var out []Refusal
	spec := f.Backup.Spec
	if spec.Type != v1alpha1.TypeSnapshot {
		switch {
		case f.Target == nil:
			out = append(out, refusal(TargetNotFound, "there is no BackupTarget %q (spec.target): create it, or name another in a new VMBackup", spec.Target))
		case !f.Target.DeletionTimestamp.IsZero():
			out = append(out, refusal(TargetNotReady, "BackupTarget %q (spec.target) is being deleted: name another in a new VMBackup", spec.Target))
		}
		out = append(out, f.Uses...)
	}
	if f.Source == nil {
		return append(out, refusal(Refused, "there is no VirtualMachine %q in namespace %s (spec.vm): name one that exists in a new VMBackup", spec.VM, f.Backup.Namespace))
	}
	for _, sentence := range f.Source.Refusals {
		out = append(out, Refusal{Reason: Refused, Sentence: sentence})
	}
	for _, sentence := range f.Space {
		out = append(out, Refusal{Reason: QuotaExceeded, Sentence: sentence})
	}
	return out
}

// TargetAnswer refuses a target that was tried out and cannot be worked with.
func TargetAnswer(name, reason, message string) Refusal {
	return refusal(TargetNotReady, "target %s is not ready: %s: %s", name, reason, message)
}
