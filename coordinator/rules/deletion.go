package rules

import (
	"fmt"
	"slices"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// BackupDeletion are the reasons not to delete a point now; readers is what
// status.Readers returned. Where they are not asked in time the point's finalizer
// waits for the same restores.
// target is the point's, nil for none.
func BackupDeletion(b *v1alpha1.VMBackup, target *v1alpha1.BackupTarget, readers []string) []Refusal {
	var out []Refusal
	if len(readers) > 0 {
		out = append(out, refusal(BackupInUse, "VMBackup %s is being read by VMRestore %s: wait until that has ended, or delete it first", b.Name, few(readers)))
	}
	// The annotation of a forced deletion asks for what is on the target no more.
	if target != nil && target.Spec.ReadOnly && b.Spec.Type != v1alpha1.TypeSnapshot && b.Spec.DeletionPolicy == v1alpha1.DeletionDelete &&
		b.Status.Document != "" && b.Annotations[v1alpha1.AnnotationForceDeletion] != "true" {
		out = append(out, refusal(TargetReadOnly, "VMBackup %s has spec.deletionPolicy Delete, and nothing is removed from BackupTarget %s, which is only read (its spec.readOnly): set the policy to Retain (hayloft delete backup %s --keep-data)", b.Name, target.Name, b.Name))
	}
	return out
}

// TargetDeletion are the reasons not to delete a target: what is not finished
// on it could neither go on nor be cleaned up. Points that are whole keep nobody
// from it, since they are found again when the target is. points are those on
// the target, restores all there are.
func TargetDeletion(t *v1alpha1.BackupTarget, points []v1alpha1.VMBackup, restores []v1alpha1.VMRestore) []Refusal {
	var users []string
	for i := range points {
		b := &points[i]
		if b.Spec.Target != t.Name {
			continue
		}
		if state := unfinished(b); state != "" {
			users = append(users, fmt.Sprintf("VMBackup %s/%s (%s)", b.Namespace, b.Name, state))
		}
		for _, name := range status.Readers(b, restores) {
			users = append(users, "VMRestore "+name+" of VMBackup "+b.Namespace+"/"+b.Name)
		}
	}
	if len(users) == 0 {
		return nil
	}
	slices.Sort(users)
	return []Refusal{refusal(TargetInUse, "BackupTarget %s is in use by %s: wait until that has ended, or delete it first", t.Name, few(users))}
}

// unfinished says what a point is still doing on its target, "" for nothing.
func unfinished(b *v1alpha1.VMBackup) string {
	switch {
	case !b.DeletionTimestamp.IsZero():
		return string(v1alpha1.BackupDeleting)
	case b.Status.Phase == v1alpha1.BackupReady, b.Status.Phase == v1alpha1.BackupFailed, b.Status.Phase == v1alpha1.BackupDataLost,
		b.Status.Phase == v1alpha1.BackupMissing, b.Status.Phase == v1alpha1.BackupDamaged, b.Spec.Found != nil:
		return "" // nothing is done for it
	}
	return phaseOf(b)
}

func phaseOf(b *v1alpha1.VMBackup) string {
	if b.Status.Phase == "" {
		return string(v1alpha1.BackupPending)
	}
	return string(b.Status.Phase)
}
