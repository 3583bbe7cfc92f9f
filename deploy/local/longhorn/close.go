package longhorn

import (
	"context"
	"fmt"
	"sync"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"hayloft.dev/deploy/local/longhorn/admission"
	"hayloft.dev/deploy/local/longhorn/condition"
	"hayloft.dev/deploy/local/longhorn/instance"
)

// close detaches a volume: the engine first, since replicas that go under it would be broken ones.
func (v *volumes) close(ctx context.Context, vol *volume) error {
	if err := v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.State = lh.VolumeStateDetaching
		if s.Robustness != lh.VolumeRobustnessFaulted {
			s.Robustness = lh.VolumeRobustnessUnknown
		}
	}); err != nil {
		return err
	}
	v.takeNoMore(vol.Name, attaching)
	if err := v.stopProcesses(vol.Name, vol.engines()); err != nil {
		return err
	}
	if err := v.take(vol.Name, detaching, v.timing.detach); err != nil {
		return err
	}
	if err := v.showStopped(ctx, vol); err != nil {
		return err
	}
	return v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.State = lh.VolumeStateDetached
		s.CurrentNodeID = ""
	})
}

// stopProcesses ends all processes of a volume.
func (v *volumes) stopProcesses(name string, engines []*lh.Engine) error {
	for _, engine := range v.attendedOf(name) {
		v.leave(engine)
	}
	for _, engine := range engines {
		v.instances.Stop(engine.Name)
	}
	if err := instance.RemoveSocket(name); err != nil {
		return err
	}
	var group sync.WaitGroup
	for _, other := range v.instances.Of(name) {
		group.Go(func() { v.instances.Stop(other) })
	}
	group.Wait()
	return nil
}

// fault says that the engine is gone, or that it has no replica left. The tickets' rules then have the volume detached.
func (v *volumes) fault(ctx context.Context, vol *volume) error {
	v.log.Warn("volume is faulted", "volume", vol.Name)
	if v.instances.Get(vol.engine.Name).State != instance.Running {
		vol.engine.Status.CurrentState = lh.InstanceStateError
		if err := v.client.Status().Update(ctx, vol.engine); err != nil {
			return err
		}
	}
	return v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) { s.Robustness = lh.VolumeRobustnessFaulted })
}

// recover makes a faulted volume that is closed usable again. When all replicas are failed, those that ever were whole
// are taken as they are; an engine that counts no revisions is told to find the one that was written last.
func (v *volumes) recover(ctx context.Context, vol *volume) error {
	whole := false
	for _, r := range vol.replicas {
		whole = whole || r.Spec.NodeID != "" && r.Spec.FailedAt == ""
	}
	for _, r := range vol.replicas {
		if whole || r.Spec.FailedAt == "" || r.Spec.HealthyAt == "" {
			continue
		}
		v.log.Warn("salvaging a replica", "volume", vol.Name, "replica", r.Name)
		if r.Spec.RevisionCounterDisabled && !vol.engine.Spec.SalvageRequested {
			vol.engine.Spec.SalvageRequested = true
			if err := v.client.Update(ctx, vol.engine); err != nil {
				return err
			}
		}
		r.Spec.FailedAt = ""
		if err := v.client.Update(ctx, r); err != nil {
			return err
		}
	}
	return v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.Robustness = lh.VolumeRobustnessUnknown
		s.RemountRequestedAt = condition.Now()
	})
}

// remove ends a deleted volume. Like the real one it does not ask whether the volume is attached, and takes the PV and the
// PVC with it that are bound to the volume.
func (v *volumes) remove(ctx context.Context, vol *volume) error {
	if !controllerutil.ContainsFinalizer(vol.Volume, admission.Finalizer) {
		return nil
	}
	if err := v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) { s.State = lh.VolumeStateDeleting }); err != nil {
		return err
	}
	if err := v.removeClaims(ctx, vol.Status.KubernetesStatus); err != nil {
		return err
	}
	if err := v.stopProcesses(vol.Name, vol.engines()); err != nil {
		return err
	}
	for _, what := range []string{attaching, detaching, migration} {
		v.takeNoMore(vol.Name, what)
	}
	for _, r := range vol.replicas {
		if err := removeReplicaDir(r); err != nil {
			return err
		}
	}
	for _, kind := range []client.Object{&lh.Engine{}, &lh.Replica{}, &lh.Snapshot{}} {
		if err := v.client.DeleteAllOf(ctx, kind, client.InNamespace(v.namespace), client.MatchingLabels{admission.VolumeLabel: vol.Name}); err != nil {
			return fmt.Errorf("deleting its objects: %w", err)
		}
	}
	if err := v.releaseSnapshots(ctx, vol.Name); err != nil {
		return err
	}
	if vol.attachment != nil {
		if err := v.removeAttachment(ctx, vol.attachment); err != nil {
			return err
		}
	}
	controllerutil.RemoveFinalizer(vol.Volume, admission.Finalizer)
	return client.IgnoreNotFound(v.client.Update(ctx, vol.Volume))
}

func (v *volumes) removeAttachment(ctx context.Context, attachment *lh.VolumeAttachment) error {
	if attachment.DeletionTimestamp == nil {
		if err := client.IgnoreNotFound(v.client.Delete(ctx, attachment)); err != nil {
			return fmt.Errorf("deleting its attachment: %w", err)
		}
	}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
	if err := client.IgnoreNotFound(v.client.Patch(ctx, attachment, patch)); err != nil {
		return fmt.Errorf("letting its attachment go: %w", err)
	}
	return nil
}

// removeClaims deletes the PV of a volume, and its PVC when that is not only history.
func (v *volumes) removeClaims(ctx context.Context, s lh.KubernetesStatus) error {
	if s.PVName != "" {
		pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: s.PVName}}
		if err := client.IgnoreNotFound(v.client.Delete(ctx, pv)); err != nil {
			return fmt.Errorf("deleting PV %s: %w", s.PVName, err)
		}
	}
	if s.PVCName != "" && s.LastPVCRefAt == "" {
		pvc := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.PVCName}}
		if err := client.IgnoreNotFound(v.client.Delete(ctx, pvc)); err != nil {
			return fmt.Errorf("deleting PVC %s/%s: %w", s.Namespace, s.PVCName, err)
		}
	}
	return nil
}

// forget ends what is left of a volume whose object is gone, as happens when somebody took its finalizer away.
func (v *volumes) forget(ctx context.Context, name string) error {
	if err := v.stopProcesses(name, nil); err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	if err := v.releaseSnapshots(ctx, name); err != nil {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	attachment := &lh.VolumeAttachment{}
	switch err := v.client.Get(ctx, v.key(name), attachment); {
	case err == nil:
		return v.removeAttachment(ctx, attachment)
	default:
		return client.IgnoreNotFound(err)
	}
}
