package longhorn

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/longhorn/condition"
	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/longhorn/observe"
)

const (
	dropTimeout = 5 * time.Second // for an engine to let a replica go

	// snapshotsWarning is the number of snapshots above which a volume has the condition TooManySnapshots.
	snapshotsWarning = 100
)

// mirror writes what the processes of an attached volume are doing into its objects.
func (v *volumes) mirror(ctx context.Context, vol *volume) error {
	a := v.attendanceOf(vol.engine.Name)
	if a == nil || vol.Status.State != lh.VolumeStateAttached || v.instances.Get(vol.engine.Name).State != instance.Running {
		return nil
	}
	latest, replicas := a.learned()
	for _, r := range vol.replicas {
		failed, err := v.mirrorReplica(ctx, r, latest)
		if err != nil {
			return err
		}
		if failed {
			a.poke()
		}
	}
	if latest != nil {
		v.dropBroken(ctx, vol, a, latest, replicas)
	}
	if err := v.mirrorEngine(ctx, vol.engine, latest, replicas); err != nil {
		return err
	}
	for _, s := range vol.extras {
		if a := v.attendanceOf(s.engine.Name); a != nil {
			latest, replicas := a.learned()
			if err := v.mirrorEngine(ctx, s.engine, latest, replicas); err != nil {
				return err
			}
		}
	}
	if err := v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) { judge(s, vol) }); err != nil {
		return err
	}
	if latest == nil {
		return nil
	}
	if err := v.mirrorSnapshots(ctx, vol); err != nil {
		return err
	}
	return v.replenish(ctx, vol, a, latest)
}

// mirrorReplica fails a replica whose process ended or that the engine gave up, and heals one that was rebuilt.
func (v *volumes) mirrorReplica(ctx context.Context, r *lh.Replica, latest *observe.Report) (failed bool, err error) {
	info := v.instances.Get(r.Name)
	var mode lh.ReplicaMode
	if latest != nil {
		mode = latest.Modes[r.Name]
	}
	before := r.DeepCopy()
	switch {
	case r.Spec.NodeID == "":
		return false, nil
	case r.Spec.FailedAt == "" && (info.State != instance.Running || mode == lh.ReplicaModeERR):
		v.log.Warn("replica failed", "replica", r.Name, "mode", mode)
		v.instances.Stop(r.Name)
		failReplica(r)
		clearInstance(&r.Status.InstanceStatus)
		r.Status.CurrentState = lh.InstanceStateError
		failed = true
	case info.State == instance.Running:
		if r.Spec.FailedAt != "" && mode == lh.ReplicaModeRW {
			healReplica(r)
		}
		fillRunning(&r.Status.InstanceStatus, info, r.Spec.NodeID, r.Spec.Image)
	}
	status := r.Status.DeepCopy()
	if !reflect.DeepEqual(before.Spec, r.Spec) {
		if err := v.client.Update(ctx, r); err != nil {
			return failed, fmt.Errorf("writing replica %s: %w", r.Name, err)
		}
	}
	r.Status = *status
	if !reflect.DeepEqual(before.Status, r.Status) {
		if err := v.client.Status().Update(ctx, r); err != nil {
			return failed, fmt.Errorf("writing the status of replica %s: %w", r.Name, err)
		}
	}
	return failed, nil
}

// dropBroken takes failed replicas out of an engine that gave them up, as long as it has others.
func (v *volumes) dropBroken(ctx context.Context, vol *volume, a *attendance, latest *observe.Report, replicas map[string]instance.Info) {
	others := false
	for _, mode := range latest.Modes {
		others = others || mode == lh.ReplicaModeRW
	}
	for _, r := range vol.replicas {
		info, given := replicas[r.Name]
		if !others || !given || r.Spec.FailedAt == "" || latest.Modes[r.Name] != lh.ReplicaModeERR {
			continue
		}
		asked, cancel := context.WithTimeout(ctx, dropTimeout)
		err := observe.DropReplica(asked, target(vol.Name, a.engine, replicas), info.Address())
		cancel()
		if err != nil {
			v.log.Debug("dropping a failed replica", "volume", vol.Name, "error", err)
			continue
		}
		a.drop(r.Name)
		a.poke()
	}
}

func (v *volumes) mirrorEngine(ctx context.Context, e *lh.Engine, latest *observe.Report, replicas map[string]instance.Info) error {
	before := e.DeepCopy()
	e.Status.CurrentReplicaAddressMap = addresses(replicas)
	if latest != nil {
		fillReport(e, *latest)
	}
	if reflect.DeepEqual(before.Status, e.Status) {
		return nil
	}
	if err := v.client.Status().Update(ctx, e); err != nil {
		return fmt.Errorf("writing the status of engine %s: %w", e.Name, err)
	}
	return nil
}

// judge says how well a volume that is attached is. A replica counts when its engine writes to it and it has not failed
// since the engine was asked.
func judge(s *lh.VolumeStatus, vol *volume) {
	healthy := 0
	for _, r := range vol.replicas {
		if r.Spec.FailedAt == "" && vol.engine.Status.ReplicaModeMap[r.Name] == lh.ReplicaModeRW {
			healthy++
		}
	}
	switch {
	case healthy >= vol.Spec.NumberOfReplicas:
		s.Robustness = lh.VolumeRobustnessHealthy
		s.LastDegradedAt = ""
	case healthy > 0 && s.Robustness != lh.VolumeRobustnessDegraded:
		s.Robustness = lh.VolumeRobustnessDegraded
		s.LastDegradedAt = condition.Now()
	}
	s.ActualSize = actualSize(vol.engine.Status.Snapshots)
	count := len(vol.engine.Status.Snapshots) - 1 // the head is among them
	if count > snapshotsWarning {
		s.Conditions = condition.Set(s.Conditions, lh.VolumeConditionTypeTooManySnapshots, lh.ConditionStatusTrue,
			lh.VolumeConditionReasonTooManySnapshots, fmt.Sprintf("Snapshots count is %v over the warning threshold %v", count, snapshotsWarning))
	} else {
		s.Conditions = condition.Set(s.Conditions, lh.VolumeConditionTypeTooManySnapshots, lh.ConditionStatusFalse, "", "")
	}
}

// actualSize is what a replica takes on its disk, in bytes.
func actualSize(snapshots map[string]*lh.SnapshotInfo) int64 {
	var sum int64
	for _, s := range snapshots {
		bytes, err := strconv.ParseInt(s.Size, 10, 64)
		if err == nil {
			sum += bytes
		}
	}
	return sum
}

// writeStatus changes a volume's status, as a patch: others write parts of it that are not touched here.
func (v *volumes) writeStatus(ctx context.Context, vol *volume, change func(*lh.VolumeStatus)) error {
	before := vol.DeepCopy()
	change(&vol.Status)
	if reflect.DeepEqual(before.Status, vol.Status) {
		return nil
	}
	if err := v.client.Status().Patch(ctx, vol.Volume, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("writing its status: %w", err)
	}
	return nil
}
