package admission

import (
	"fmt"
	"reflect"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// OwnerReferences are those of everything that belongs to a volume.
func OwnerReferences(vol *lh.Volume) []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: lh.SchemeGroupVersion.String(),
		Kind:       "Volume",
		Name:       vol.Name,
		UID:        vol.UID,
	}}
}

// mutateAttachment fills in what Longhorn's mutating webhook fills in. old is nil for a new object. A ticket's generation
// goes up with every change, and a ticket that comes again while its former status is still there starts above it: so a
// status at the ticket's generation is always about the ticket as it is.
func mutateAttachment(old, va *lh.VolumeAttachment, vol *lh.Volume) {
	if va.DeletionTimestamp == nil {
		controllerutil.AddFinalizer(va, Finalizer)
	}
	if va.Spec.AttachmentTickets == nil {
		va.Spec.AttachmentTickets = map[string]*lh.AttachmentTicket{}
	}
	if old == nil {
		if va.Labels == nil {
			va.Labels = map[string]string{}
		}
		va.Labels[VolumeLabel] = vol.Name
		if len(va.OwnerReferences) == 0 {
			va.OwnerReferences = OwnerReferences(vol)
		}
		return
	}
	for id, ticket := range va.Spec.AttachmentTickets {
		before, existed := old.Spec.AttachmentTickets[id]
		status := va.Status.AttachmentTicketStatuses[id]
		switch {
		case !existed && status != nil:
			ticket.Generation = status.Generation + 1
		case existed && !reflect.DeepEqual(before, ticket):
			ticket.Generation++
		}
		ticket.Generation = max(ticket.Generation, 0)
	}
}

// validateAttachment refuses what Longhorn's validating webhook refuses: tickets under another id than their own, and more
// than two tickets of a migratable volume, or a second one while it is not attached. Like the real one it counts tickets
// of every type, and only when an object is changed.
func validateAttachment(old, va *lh.VolumeAttachment, vol *lh.Volume) error {
	for id, ticket := range va.Spec.AttachmentTickets {
		if id != ticket.ID {
			return fmt.Errorf("the attachmentTickets map contains inconsistent attachment ticket ID: %v vs %v", id, ticket.ID)
		}
	}
	if old == nil {
		return nil
	}
	if old.Spec.Volume != va.Spec.Volume {
		return fmt.Errorf("spec.volume field is immutable")
	}
	if vol == nil {
		return fmt.Errorf("failed to get volume %v for attachment", va.Spec.Volume)
	}
	if !vol.Spec.Migratable || vol.Spec.AccessMode != lh.AccessModeReadWriteMany {
		return nil
	}
	switch count := len(va.Spec.AttachmentTickets); {
	case count > 2:
		return fmt.Errorf("cannot attach migratable volume %v to more than two nodes", vol.Name)
	case count == 2 && vol.Status.State != lh.VolumeStateAttached:
		return fmt.Errorf("cannot attach migratable volume %v to a second node while it is in state %v", vol.Name, vol.Status.State)
	}
	return nil
}
