// Package tickets holds Longhorn's rules of attaching: from the tickets of a VolumeAttachment and the state of its volume
// to where the volume should be and which tickets are satisfied. It is pure: it reads two objects and changes neither.
//
// The rules are those of longhorn-manager v1.8.1 (its volume attachment controller), with one difference: there is no share
// manager, so that the CSI tickets of a shared volume that is not migratable are never satisfied. Migrating: migration.go.
package tickets

import (
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
)

// Wanted is what the tickets want of the volume's spec.
type Wanted struct {
	NodeID          string // "" is detached
	MigrationNodeID string // "" is no migration
	DisableFrontend bool
	LastAttachedBy  string
}

// Decide returns what the volume's spec should say now. Detaching comes first, and a volume is given to a ticket only when
// it is fully detached: a ticket of a higher priority takes nothing away from one that has the volume. engines are all of
// the volume.
func Decide(va *lh.VolumeAttachment, vol *lh.Volume, engines []*lh.Engine) Wanted {
	wanted := place(va, vol)
	wanted.MigrationNodeID = vol.Spec.MigrationNodeID
	if migratable(vol) {
		migrate(&wanted, va, vol, engines)
	}
	return wanted
}

// place is Decide without migrations.
func place(va *lh.VolumeAttachment, vol *lh.Volume) Wanted {
	current := Wanted{
		NodeID:          vol.Spec.NodeID,
		DisableFrontend: vol.Spec.DisableFrontend,
		LastAttachedBy:  vol.Spec.LastAttachedBy,
	}
	if current.NodeID != "" {
		if mustDetach(va, vol) {
			return Wanted{}
		}
		return current
	}
	if vol.Status.State != lh.VolumeStateDetached || vol.Status.CurrentNodeID != "" {
		return current
	}
	if vol.Status.Robustness == lh.VolumeRobustnessFaulted {
		return current // what broke is put right first
	}
	ticket := pick(va, vol)
	if ticket == nil {
		return current
	}
	wanted := Wanted{NodeID: ticket.NodeID, DisableFrontend: current.DisableFrontend, LastAttachedBy: ticket.Parameters[lh.AttachmentParameterLastAttachedBy]}
	switch mode, given := ticket.Parameters[lh.AttachmentParameterDisableFrontend]; {
	case !given || mode == lh.FalseValue:
		wanted.DisableFrontend = false
	case mode == lh.TrueValue:
		wanted.DisableFrontend = true
	}
	return wanted
}

// mustDetach says whether the volume has to leave the node that its spec names.
func mustDetach(va *lh.VolumeAttachment, vol *lh.Volume) bool {
	if vol.Status.Robustness == lh.VolumeRobustnessFaulted {
		return true
	}
	if migratable(vol) && migrating(vol) {
		return false // that is for the migration to end
	}
	var here, elsewhere []*lh.AttachmentTicket
	for _, t := range candidates(va, vol) {
		switch {
		case t.NodeID != vol.Spec.NodeID:
			elsewhere = append(elsewhere, t)
		case compatible(t, vol):
			here = append(here, t)
		}
	}
	if len(here) == 0 {
		return true
	}
	if all(here, interruptible) && some(elsewhere, workload) {
		return true
	}
	// A rebuild of a detached volume gives way on its own node too, to a workload that says that it needs the front end.
	return some(here, rebuilding) && some(here, func(t *lh.AttachmentTicket) bool {
		return workload(t) && t.Parameters[lh.AttachmentParameterDisableFrontend] == lh.FalseValue
	})
}

// pick returns the ticket that gets a detached volume: the highest priority, then the smallest id.
func pick(va *lh.VolumeAttachment, vol *lh.Volume) *lh.AttachmentTicket {
	var best *lh.AttachmentTicket
	var bestPriority, equals int
	for _, t := range candidates(va, vol) {
		priority := lh.GetAttacherPriorityLevel(t.Type)
		switch {
		case best == nil || priority > bestPriority:
			best, bestPriority, equals = t, priority, 1
		case priority == bestPriority:
			equals++
			if t.ID < best.ID {
				best = t
			}
		}
	}
	if migratable(vol) && bestPriority == lh.AttacherPriorityLevelCSIAttacher && equals > 1 {
		return nil // it broke while it was on its way between two nodes, and nobody knows which one is right
	}
	return best
}

// candidates are the tickets that can have the volume.
func candidates(va *lh.VolumeAttachment, vol *lh.Volume) []*lh.AttachmentTicket {
	var out []*lh.AttachmentTicket
	for _, t := range va.Spec.AttachmentTickets {
		if !viaShare(t, vol) {
			out = append(out, t)
		}
	}
	return out
}

// compatible says whether the volume, as it is attached or about to be, is what the ticket asks for. Anything but "true",
// "false" and an absent parameter is content with both.
func compatible(t *lh.AttachmentTicket, vol *lh.Volume) bool {
	switch mode, given := t.Parameters[lh.AttachmentParameterDisableFrontend]; {
	case !given || mode == lh.FalseValue:
		return !vol.Spec.DisableFrontend
	case mode == lh.TrueValue:
		return vol.Spec.DisableFrontend
	default:
		return true
	}
}

// interruptible tickets give way to a workload on another node.
func interruptible(t *lh.AttachmentTicket) bool {
	return t.Type == lh.AttacherTypeSnapshotController || t.Type == lh.AttacherTypeBackupController || rebuilding(t)
}

func rebuilding(t *lh.AttachmentTicket) bool {
	return t.Type == lh.AttacherTypeVolumeRebuildingController
}

func workload(t *lh.AttachmentTicket) bool {
	switch t.Type {
	case lh.AttacherTypeCSIAttacher, lh.AttacherTypeLonghornAPI, lh.AttacherTypeShareManagerController:
		return true
	}
	return false
}

// viaShare says whether the ticket's node would use the volume over the network, from a share manager's node.
func viaShare(t *lh.AttachmentTicket, vol *lh.Volume) bool {
	return t.Type == lh.AttacherTypeCSIAttacher && vol.Spec.AccessMode == lh.AccessModeReadWriteMany && !vol.Spec.Migratable
}

func migratable(vol *lh.Volume) bool {
	return vol.Spec.Migratable && vol.Spec.AccessMode == lh.AccessModeReadWriteMany
}

func all(tickets []*lh.AttachmentTicket, is func(*lh.AttachmentTicket) bool) bool {
	for _, t := range tickets {
		if !is(t) {
			return false
		}
	}
	return true
}

func some(tickets []*lh.AttachmentTicket, is func(*lh.AttachmentTicket) bool) bool {
	for _, t := range tickets {
		if is(t) {
			return true
		}
	}
	return false
}
