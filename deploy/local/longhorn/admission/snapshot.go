package admission

import (
	"errors"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// mutateSnapshot fills in what Longhorn's mutating webhook fills in. vol is needed for a new object.
func mutateSnapshot(s *lh.Snapshot, vol *lh.Volume, isNew bool) {
	if s.DeletionTimestamp == nil {
		controllerutil.AddFinalizer(s, Finalizer)
	}
	if !isNew {
		return
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[VolumeLabel] = vol.Name
	if len(s.OwnerReferences) == 0 {
		s.OwnerReferences = OwnerReferences(vol)
	}
}

// validateSnapshot refuses what Longhorn's validating webhook refuses. old is nil for a new object.
func validateSnapshot(old, s *lh.Snapshot) error {
	switch {
	case s.Spec.Volume == "":
		return errors.New("spec.volume is required")
	case old == nil:
		return nil
	case old.Spec.Volume != s.Spec.Volume:
		return errors.New("spec.volume field is immutable")
	case old.Labels[VolumeLabel] != "" && old.Labels[VolumeLabel] != s.Labels[VolumeLabel]:
		return errors.New("label " + VolumeLabel + " is immutable")
	}
	return nil
}
