package tickets

import (
	"fmt"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"

	"hayloft.dev/deploy/local/longhorn/condition"
)

// Statuses returns what the VolumeAttachment's status should say: one entry for each ticket, at the ticket's generation,
// and none for a ticket that is gone.
func Statuses(va *lh.VolumeAttachment, vol *lh.Volume, engines []*lh.Engine) map[string]*lh.AttachmentTicketStatus {
	out := make(map[string]*lh.AttachmentTicketStatus, len(va.Spec.AttachmentTickets))
	for id, t := range va.Spec.AttachmentTickets {
		status := &lh.AttachmentTicketStatus{ID: id, Generation: t.Generation}
		if old := va.Status.AttachmentTicketStatuses[id]; old != nil {
			status.Conditions = old.Conditions
		}
		satisfied, reason, message := judge(t, vol, engines)
		state := lh.ConditionStatusFalse
		if satisfied {
			state = lh.ConditionStatusTrue
		}
		status.Satisfied = satisfied
		status.Conditions = condition.Set(status.Conditions, lh.AttachmentStatusConditionTypeSatisfied, state, reason, message)
		out[id] = status
	}
	return out
}

// judge says whether a ticket has what it asks for, and if not what the condition says about it. The real one gives a
// reason only when the parameters do not fit.
func judge(t *lh.AttachmentTicket, vol *lh.Volume, engines []*lh.Engine) (satisfied bool, reason, message string) {
	switch {
	case viaShare(t, vol):
		return false, "", "Waiting for volume share to be available"
	case migratable(vol) && migrating(vol) && t.Type == lh.AttacherTypeCSIAttacher && t.NodeID == vol.Status.CurrentMigrationNodeID:
		if !available(engines, t.NodeID) {
			return false, "", fmt.Sprintf("waiting for volume to migrate to node %v", t.NodeID)
		}
		return true, "", "The migrating attachment ticket is satisfied"
	case vol.Status.CurrentNodeID == "" || vol.Status.State != lh.VolumeStateAttached:
		return false, "", ""
	case t.NodeID != vol.Status.CurrentNodeID:
		return false, "", fmt.Sprintf("the volume is currently attached to different node %v", vol.Status.CurrentNodeID)
	case !compatible(t, vol):
		return false, lh.AttachmentStatusConditionReasonAttachedWithIncompatibleParameters,
			fmt.Sprintf("volume %v has already attached to node %v with incompatible parameters", vol.Name, vol.Status.CurrentNodeID)
	default:
		return true, "", ""
	}
}
