package tickets

import (
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
)

// migrate adds to what is wanted what the CSI tickets of a migratable volume want: a second one on another node starts a
// migration to there, the end of the first one confirms it, the end of the second one rolls it back. Tickets of other
// types neither start nor end one; those that keep a workload's second ticket out do so in the webhook, by their number.
func migrate(wanted *Wanted, va *lh.VolumeAttachment, vol *lh.Volume, engines []*lh.Engine) {
	if wanted.NodeID == "" {
		wanted.MigrationNodeID = "" // it broke: nobody knows any more which of the two nodes is right
		return
	}
	if !migrating(vol) && vol.Status.State == lh.VolumeStateAttached && vol.Status.CurrentNodeID == wanted.NodeID && csiOn(va, vol, wanted.NodeID) {
		wanted.MigrationNodeID = csiElsewhere(va, vol, wanted.NodeID)
	}
	to := vol.Status.CurrentMigrationNodeID
	if to != "" && !csiOn(va, vol, wanted.NodeID) && available(engines, to) && sameSnapshots(engines, wanted.MigrationNodeID) {
		wanted.NodeID, wanted.MigrationNodeID = to, ""
	}
	if wanted.MigrationNodeID != "" && !csiOn(va, vol, wanted.MigrationNodeID) {
		wanted.MigrationNodeID = ""
	}
}

func migrating(vol *lh.Volume) bool {
	return vol.Spec.MigrationNodeID != "" || vol.Status.CurrentMigrationNodeID != ""
}

// csiOn says whether a workload asks for the volume, as it is attached, on a node.
func csiOn(va *lh.VolumeAttachment, vol *lh.Volume, node string) bool {
	for _, t := range va.Spec.AttachmentTickets {
		if t.Type == lh.AttacherTypeCSIAttacher && t.NodeID == node && compatible(t, vol) {
			return true
		}
	}
	return false
}

// csiElsewhere is the node on which a workload asks for the volume besides the given one, "" when there is none.
func csiElsewhere(va *lh.VolumeAttachment, vol *lh.Volume, node string) string {
	for _, t := range va.Spec.AttachmentTickets {
		if t.Type == lh.AttacherTypeCSIAttacher && t.NodeID != node && compatible(t, vol) {
			return t.NodeID
		}
	}
	return ""
}

// available says whether an engine runs on a node with a replica that it can read.
func available(engines []*lh.Engine, node string) bool {
	for _, e := range engines {
		if e.Spec.NodeID != node || e.DeletionTimestamp != nil || e.Spec.DesireState != lh.InstanceStateRunning || e.Status.CurrentState != lh.InstanceStateRunning {
			continue
		}
		for _, mode := range e.Status.ReplicaModeMap {
			if mode == lh.ReplicaModeRW {
				return true
			}
		}
	}
	return false
}

// sameSnapshots says whether the engine that a migration goes to has the snapshots of the one that it comes from. A
// snapshot that is cut or purged in the middle is in one of them only, and the migration waits for ever.
func sameSnapshots(engines []*lh.Engine, node string) bool {
	var from, to *lh.Engine
	for _, e := range engines {
		switch {
		case e.Spec.Active:
			from = e
		case e.Spec.NodeID == node:
			to = e
		}
	}
	if from == nil || to == nil || len(from.Status.Snapshots) != len(to.Status.Snapshots) {
		return false
	}
	for name := range from.Status.Snapshots {
		if _, has := to.Status.Snapshots[name]; !has {
			return false
		}
	}
	return true
}
