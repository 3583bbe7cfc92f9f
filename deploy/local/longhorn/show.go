package longhorn

import (
	"context"
	"fmt"
	"reflect"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"golang.org/x/sync/errgroup"

	"hayloft.dev/deploy/local/longhorn/condition"
	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/longhorn/observe"
)

// showOpened writes the Engine and Replica objects of an engine that was started on a node. A replica that did not start is failed,
// and so is one that the engine did not take: it is stopped and leaves running.
func (v *volumes) showOpened(ctx context.Context, vol *volume, s side, node string, engine instance.Info, running map[string]instance.Info, report observe.Report) error {
	var changed []*lh.Replica
	for _, r := range s.replicas {
		_, ok := running[r.Name]
		switch {
		case ok && report.Modes[r.Name] == lh.ReplicaModeRW:
			healReplica(r)
		case r.Spec.NodeID != "" && r.Spec.FailedAt == "":
			failReplica(r)
			v.instances.Stop(r.Name)
			delete(running, r.Name)
		default:
			continue // still failed, or without a node
		}
		changed = append(changed, r)
	}
	// Side by side: somebody is waiting for the volume.
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range changed {
		group.Go(func() error { return v.showReplica(ctx, r, running) })
	}
	group.Go(func() error { return v.showEngine(ctx, vol, s.engine, node, engine, running, report) })
	return group.Wait()
}

func (v *volumes) showReplica(ctx context.Context, r *lh.Replica, running map[string]instance.Info) error {
	if err := v.client.Update(ctx, r); err != nil {
		return fmt.Errorf("writing replica %s: %w", r.Name, err)
	}
	info, ok := running[r.Name]
	if !ok {
		return nil
	}
	fillRunning(&r.Status.InstanceStatus, info, r.Spec.NodeID, r.Spec.Image)
	if err := v.client.Status().Update(ctx, r); err != nil {
		return fmt.Errorf("writing the status of replica %s: %w", r.Name, err)
	}
	return nil
}

func failReplica(r *lh.Replica) {
	r.Spec.FailedAt = condition.Now()
	r.Spec.LastFailedAt = r.Spec.FailedAt
	r.Spec.DesireState = lh.InstanceStateStopped
}

func healReplica(r *lh.Replica) {
	r.Spec.LastHealthyAt = condition.Now()
	if r.Spec.HealthyAt == "" || r.Spec.FailedAt != "" {
		r.Spec.HealthyAt = r.Spec.LastHealthyAt
	}
	r.Spec.FailedAt = ""
	r.Spec.DesireState = lh.InstanceStateRunning
}

// showEngine writes the Engine object.
func (v *volumes) showEngine(ctx context.Context, vol *volume, e *lh.Engine, node string, engine instance.Info, running map[string]instance.Info, report observe.Report) error {
	e.Spec.NodeID = node
	e.Spec.SalvageRequested = false
	e.Spec.DesireState = lh.InstanceStateRunning
	e.Spec.DisableFrontend = vol.Spec.DisableFrontend
	e.Spec.Frontend = vol.Spec.Frontend
	e.Spec.ReplicaAddressMap = addresses(running)
	if err := v.client.Update(ctx, e); err != nil {
		return fmt.Errorf("writing engine %s: %w", e.Name, err)
	}
	fillRunning(&e.Status.InstanceStatus, engine, e.Spec.NodeID, e.Spec.Image)
	e.Status.CurrentReplicaAddressMap = addresses(running)
	e.Status.SnapshotMaxCount = e.Spec.SnapshotMaxCount
	e.Status.SnapshotMaxSize = e.Spec.SnapshotMaxSize
	fillReport(e, report)
	if v.timing.waitsForPoll {
		e.Status.ReplicaModeMap, e.Status.ReplicaTransitionTimeMap = nil, nil
	}
	if err := v.client.Status().Update(ctx, e); err != nil {
		return fmt.Errorf("writing the status of engine %s: %w", e.Name, err)
	}
	return nil
}

// showStopped writes the objects of a volume whose processes are gone.
func (v *volumes) showStopped(ctx context.Context, vol *volume) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.showStoppedEngine(ctx, vol.engine) })
	for _, r := range vol.replicas {
		group.Go(func() error { return v.showStoppedReplica(ctx, r) })
	}
	return group.Wait()
}

func (v *volumes) showStoppedEngine(ctx context.Context, e *lh.Engine) error {
	spec := e.Spec.DeepCopy()
	e.Spec.NodeID = ""
	e.Spec.DesireState = lh.InstanceStateStopped
	if !reflect.DeepEqual(*spec, e.Spec) {
		if err := v.client.Update(ctx, e); err != nil {
			return fmt.Errorf("writing engine %s: %w", e.Name, err)
		}
	}
	before := e.Status.DeepCopy()
	clearInstance(&e.Status.InstanceStatus)
	e.Status.Endpoint = ""
	e.Status.CurrentReplicaAddressMap = nil
	e.Status.ReplicaModeMap = nil
	e.Status.ReplicaTransitionTimeMap = nil
	e.Status.RestoreStatus = nil
	e.Status.PurgeStatus = nil
	e.Status.RebuildStatus = nil
	e.Status.BackupStatus = nil
	if reflect.DeepEqual(*before, e.Status) {
		return nil
	}
	if err := v.client.Status().Update(ctx, e); err != nil {
		return fmt.Errorf("writing the status of engine %s: %w", e.Name, err)
	}
	return nil
}

func (v *volumes) showStoppedReplica(ctx context.Context, r *lh.Replica) error {
	if r.Spec.DesireState != lh.InstanceStateStopped {
		r.Spec.DesireState = lh.InstanceStateStopped
		if err := v.client.Update(ctx, r); err != nil {
			return fmt.Errorf("writing replica %s: %w", r.Name, err)
		}
	}
	before := r.Status
	clearInstance(&r.Status.InstanceStatus)
	if reflect.DeepEqual(before, r.Status) {
		return nil
	}
	if err := v.client.Status().Update(ctx, r); err != nil {
		return fmt.Errorf("writing the status of replica %s: %w", r.Name, err)
	}
	return nil
}

func fillRunning(s *lh.InstanceStatus, info instance.Info, node, image string) {
	s.OwnerID = node
	s.CurrentState = lh.InstanceStateRunning
	s.CurrentImage = image
	s.InstanceManagerName = instanceManagerName(node)
	s.IP, s.StorageIP, s.Port = info.IP, info.IP, info.Port
	s.Started = true
}

func clearInstance(s *lh.InstanceStatus) {
	s.CurrentState = lh.InstanceStateStopped
	s.CurrentImage = ""
	s.InstanceManagerName = ""
	s.IP, s.StorageIP, s.Port = "", "", 0
	s.Started = false
}

// fillReport writes what an engine said into its status. What the report does not have stays.
func fillReport(e *lh.Engine, report observe.Report) {
	s := &e.Status
	s.CurrentSize = report.SizeBytes
	s.Endpoint = report.Endpoint
	if s.Endpoint != "" {
		s.Endpoint = instance.Endpoint(e.Spec.VolumeName, e.Name)
	}
	times := map[string]string{}
	for name, mode := range report.Modes {
		times[name] = s.ReplicaTransitionTimeMap[name]
		if times[name] == "" || s.ReplicaModeMap[name] != mode {
			times[name] = condition.Now()
		}
	}
	s.ReplicaModeMap, s.ReplicaTransitionTimeMap = report.Modes, times
	if report.Snapshots != nil {
		s.Snapshots, s.SnapshotsError = report.Snapshots, ""
	}
	if report.Restore != nil {
		s.RestoreStatus, s.PurgeStatus, s.RebuildStatus = report.Restore, report.Purge, report.Rebuild
		if last, ok := lastRestored(report.Restore); ok {
			s.LastRestoredBackup = last
		}
	}
}

// lastRestored is the backup that all replicas restored last, when they agree and none is restoring.
func lastRestored(statuses map[string]*lh.RestoreStatus) (backup string, ok bool) {
	for _, s := range statuses {
		if s.IsRestoring || s.LastRestored == "" || s.Error != "" || ok && s.LastRestored != backup {
			return "", false
		}
		backup, ok = s.LastRestored, true
	}
	return backup, ok
}

func addresses(running map[string]instance.Info) map[string]string {
	out := map[string]string{}
	for name, info := range running {
		out[name] = info.Address()
	}
	return out
}
