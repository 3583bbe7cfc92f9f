package status

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// PointOf is the VMBackup that a VMRestore names.
func PointOf(s *v1alpha1.VMRestore) types.NamespacedName {
	key := types.NamespacedName{Namespace: s.Spec.BackupNamespace, Name: s.Spec.Backup}
	if key.Namespace == "" {
		key.Namespace = s.Namespace
	}
	return key
}

// RestoreEnded tells whether a VMRestore reads and makes nothing any more.
func RestoreEnded(s *v1alpha1.VMRestore) bool {
	switch s.Status.Phase {
	case v1alpha1.RestoreReady, v1alpha1.RestoreFailed, v1alpha1.RestoreDeleting:
		return true
	}
	return false
}

// Readers are the names of the restores that read a point, or are about to; one
// in another namespace is named with it. A restore marks its point by UID before
// it reads; one that has not yet is told by what it names.
func Readers(b *v1alpha1.VMBackup, restores []v1alpha1.VMRestore) []string {
	var out []string
	for i := range restores {
		s := &restores[i]
		key := PointOf(s)
		reads := s.Status.BackupUID == b.UID || s.Status.BackupUID == "" && key.Namespace == b.Namespace && key.Name == b.Name
		if !reads || RestoreEnded(s) || !s.DeletionTimestamp.IsZero() && s.Status.BackupUID == "" {
			continue
		}
		name := s.Name
		if s.Namespace != b.Namespace {
			name = s.Namespace + "/" + s.Name
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
