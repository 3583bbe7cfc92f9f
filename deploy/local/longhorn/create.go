package longhorn

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"reflect"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/longhorn/condition"
	"hayloft.dev/deploy/local/longhorn/tickets"
)

// makeObjects makes what a volume needs and does not have.
func (v *volumes) makeObjects(ctx context.Context, vol *volume) (made bool, err error) {
	if vol.Status.State == "" {
		return true, v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
			s.State = lh.VolumeStateCreating
			s.Robustness = lh.VolumeRobustnessUnknown
			s.OwnerID = v.nodes[0].Name
			s.CurrentImage = vol.Spec.Image
		})
	}
	if vol.attachment == nil {
		attachment := &lh.VolumeAttachment{
			ObjectMeta: v.meta(vol.Volume, vol.Name),
			Spec:       lh.VolumeAttachmentSpec{Volume: vol.Name, AttachmentTickets: map[string]*lh.AttachmentTicket{}},
		}
		if err := v.client.Create(ctx, attachment); err != nil {
			return false, fmt.Errorf("making its attachment: %w", err)
		}
		made = true
	}
	if vol.Spec.DataEngine == lh.DataEngineTypeV2 {
		return made, nil
	}
	if vol.engine == nil {
		if err := v.makeEngine(ctx, vol); err != nil {
			return false, fmt.Errorf("making its engine: %w", err)
		}
		made = true
	}
	if len(vol.replicas)+len(vol.orphans) == 0 {
		if err := v.makeReplicas(ctx, vol); err != nil {
			return false, fmt.Errorf("making its replicas: %w", err)
		}
		made = true
	}
	return made, nil
}

func (v *volumes) makeEngine(ctx context.Context, vol *volume) error {
	return v.client.Create(ctx, v.newEngine(vol, vol.Name+"-e-0", true))
}

func (v *volumes) newEngine(vol *volume, name string, active bool) *lh.Engine {
	return &lh.Engine{
		ObjectMeta: v.meta(vol.Volume, name),
		Spec: lh.EngineSpec{
			InstanceSpec:              v.instanceSpec(vol),
			Frontend:                  vol.Spec.Frontend,
			ReplicaAddressMap:         map[string]string{},
			UpgradedReplicaAddressMap: map[string]string{},
			RevisionCounterDisabled:   vol.Spec.RevisionCounterDisabled,
			Active:                    active,
			SnapshotMaxCount:          vol.Spec.SnapshotMaxCount,
			SnapshotMaxSize:           vol.Spec.SnapshotMaxSize,
		},
	}
}

// makeReplicas makes the replica objects. Those that find no node are made without one, as Longhorn does it.
func (v *volumes) makeReplicas(ctx context.Context, vol *volume) error {
	uses, err := v.uses(ctx)
	if err != nil {
		return err
	}
	nodes := place(vol.Spec.NumberOfReplicas, vol.Spec.Size, nil, uses)
	for i := range vol.Spec.NumberOfReplicas {
		replica := &lh.Replica{
			ObjectMeta: v.meta(vol.Volume, vol.Name+"-r-"+randomHex(4)),
			Spec: lh.ReplicaSpec{
				InstanceSpec:            v.instanceSpec(vol),
				EngineName:              vol.Name + "-e-0",
				Active:                  true,
				BackingImage:            vol.Spec.BackingImage,
				RevisionCounterDisabled: vol.Spec.RevisionCounterDisabled,
				SnapshotMaxCount:        vol.Spec.SnapshotMaxCount,
				SnapshotMaxSize:         vol.Spec.SnapshotMaxSize,
			},
		}
		if i < len(nodes) {
			replica.Spec.NodeID = nodes[i]
			replica.Spec.DiskID = diskUUID(nodes[i])
			replica.Spec.DiskPath = nodeDir(v.dir, nodes[i])
			replica.Spec.DataDirectoryName = vol.Name + "-" + randomHex(4)
			replica.Labels["longhornnode"] = replica.Spec.NodeID
			replica.Labels["longhorndiskuuid"] = replica.Spec.DiskID
		}
		if err := v.client.Create(ctx, replica); err != nil {
			return err
		}
	}
	return nil
}

func (v *volumes) instanceSpec(vol *volume) lh.InstanceSpec {
	return lh.InstanceSpec{
		VolumeName:  vol.Name,
		VolumeSize:  vol.Spec.Size,
		Image:       vol.Spec.Image,
		DesireState: lh.InstanceStateStopped,
		DataEngine:  vol.Spec.DataEngine,
	}
}

// uses reads what is promised on each node's disk.
func (v *volumes) uses(ctx context.Context) ([]use, error) {
	var replicas lh.ReplicaList
	if err := v.client.List(ctx, &replicas, client.InNamespace(v.namespace)); err != nil {
		return nil, fmt.Errorf("reading all replicas: %w", err)
	}
	scheduled := map[string]int64{}
	for _, r := range replicas.Items {
		if r.Spec.Active { // the others are on the same files
			scheduled[r.Spec.NodeID] += r.Spec.VolumeSize
		}
	}
	out := make([]use, 0, len(v.nodes))
	for _, n := range v.nodes {
		out = append(out, use{Node: n.Name, Capacity: v.diskBytes, Scheduled: scheduled[n.Name]})
	}
	return out, nil
}

// settle says that a new volume is detached, and whether it could be scheduled.
func (v *volumes) settle(ctx context.Context, vol *volume) error {
	found := 0
	for _, r := range vol.replicas {
		if r.Spec.NodeID != "" {
			found++
		}
	}
	return v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.State = lh.VolumeStateDetached
		set := func(name string, status lh.ConditionStatus, reason, message string) {
			s.Conditions = condition.Set(s.Conditions, name, status, reason, message)
		}
		switch {
		case found == 0:
			set(lh.VolumeConditionTypeScheduled, lh.ConditionStatusFalse,
				lh.VolumeConditionReasonReplicaSchedulingFailure, lh.ErrorReplicaScheduleInsufficientStorage)
		case found < len(vol.replicas):
			set(lh.VolumeConditionTypeScheduled, lh.ConditionStatusTrue, "",
				"Reset schedulable due to allow volume creation with degraded availability")
		default:
			set(lh.VolumeConditionTypeScheduled, lh.ConditionStatusTrue, "", "")
		}
		set(lh.VolumeConditionTypeRestore, lh.ConditionStatusFalse, "", "")
		set(lh.VolumeConditionTypeTooManySnapshots, lh.ConditionStatusFalse, "", "")
		set(lh.VolumeConditionTypeWaitForBackingImage, lh.ConditionStatusFalse, "", "")
	})
}

// refuseV2 leaves a volume of data engine v2 detached for good, with its tickets unsatisfied.
func (v *volumes) refuseV2(ctx context.Context, vol *volume) error {
	if err := v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.State = lh.VolumeStateDetached
		s.Conditions = condition.Set(s.Conditions, lh.VolumeConditionTypeScheduled, lh.ConditionStatusFalse,
			lh.VolumeConditionReasonReplicaSchedulingFailure, "data engine v2 is not enabled")
	}); err != nil {
		return err
	}
	return v.showTickets(ctx, vol)
}

// showTickets writes which tickets are satisfied.
func (v *volumes) showTickets(ctx context.Context, vol *volume) error {
	want := tickets.Statuses(vol.attachment, vol.Volume, vol.engines())
	have := vol.attachment.Status.AttachmentTicketStatuses
	if len(want) == 0 && len(have) == 0 || reflect.DeepEqual(want, have) {
		return nil
	}
	vol.attachment.Status.AttachmentTicketStatuses = want
	if err := v.client.Status().Update(ctx, vol.attachment); err != nil {
		return fmt.Errorf("showing tickets: %w", err)
	}
	return nil
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
