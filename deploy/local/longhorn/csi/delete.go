package csi

import (
	"context"
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// persistentVolumes deletes the volumes of released PVs, and writes into volumes which PV and PVC they belong to.
type persistentVolumes struct {
	client    client.Client
	namespace string
	isNoted   bool // by longhorn-manager itself
}

// Reconcile looks at one PV.
func (p *persistentVolumes) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	pv := &corev1.PersistentVolume{}
	if err := p.client.Get(ctx, req.NamespacedName, pv); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != Driver {
		return ctrl.Result{}, nil
	}
	if shouldDelete(pv) {
		return p.delete(ctx, pv)
	}
	if pv.DeletionTimestamp != nil || p.isNoted {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, p.note(ctx, pv)
}

// shouldDelete is the provisioner's rule. A PV that is being deleted counts only as long as it has the provisioner's
// finalizer: without it the volume was deleted already, or is not to be.
func shouldDelete(pv *corev1.PersistentVolume) bool {
	return pv.Status.Phase == corev1.VolumeReleased &&
		pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		pv.Annotations[provisionedBy] == Driver &&
		(pv.DeletionTimestamp == nil || controllerutil.ContainsFinalizer(pv, Finalizer))
}

// delete deletes the volume, and when that is gone the PV.
func (p *persistentVolumes) delete(ctx context.Context, pv *corev1.PersistentVolume) (ctrl.Result, error) {
	vol := volume(p.namespace, pv.Spec.CSI.VolumeHandle)
	err := p.client.Get(ctx, client.ObjectKeyFromObject(vol), vol)
	switch {
	case err == nil:
		since := time.Now()
		if vol.DeletionTimestamp != nil {
			since = vol.DeletionTimestamp.Time
		} else if err := client.IgnoreNotFound(p.client.Delete(ctx, vol)); err != nil {
			return ctrl.Result{}, fmt.Errorf("deleting the volume of PV %s: %w", pv.Name, err)
		}
		return ctrl.Result{RequeueAfter: nextLook(since)}, nil
	case !apierrors.IsNotFound(err):
		return ctrl.Result{}, fmt.Errorf("reading the volume of PV %s: %w", pv.Name, err)
	}
	if pv.DeletionTimestamp == nil {
		if err := client.IgnoreNotFound(p.client.Delete(ctx, pv)); err != nil {
			return ctrl.Result{}, fmt.Errorf("deleting PV %s: %w", pv.Name, err)
		}
		if err := p.client.Get(ctx, client.ObjectKeyFromObject(pv), pv); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	if controllerutil.RemoveFinalizer(pv, Finalizer) {
		if err := client.IgnoreNotFound(p.client.Update(ctx, pv)); err != nil {
			return ctrl.Result{}, fmt.Errorf("letting PV %s go: %w", pv.Name, err)
		}
	}
	return ctrl.Result{}, nil
}

// note writes into the volume's status which PV and PVC it belongs to. Longhorn deletes them with the volume.
func (p *persistentVolumes) note(ctx context.Context, pv *corev1.PersistentVolume) error {
	vol := volume(p.namespace, pv.Spec.CSI.VolumeHandle)
	if err := p.client.Get(ctx, client.ObjectKeyFromObject(vol), vol); err != nil {
		return client.IgnoreNotFound(err)
	}
	before := vol.DeepCopy()
	s := &vol.Status.KubernetesStatus
	s.PVName, s.PVStatus = pv.Name, string(pv.Status.Phase)
	if ref := pv.Spec.ClaimRef; ref != nil {
		s.Namespace, s.PVCName = ref.Namespace, ref.Name
		switch {
		case pv.Status.Phase == corev1.VolumeBound:
			s.LastPVCRefAt = ""
		case pv.Status.Phase == corev1.VolumeReleased && s.LastPVCRefAt == "":
			s.LastPVCRefAt = time.Now().UTC().Format(time.RFC3339) // from now on the PVC is history
		}
	}
	if reflect.DeepEqual(before.Status.KubernetesStatus, *s) {
		return nil
	}
	if err := p.client.Status().Patch(ctx, vol, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("noting PV %s in its volume: %w", pv.Name, err)
	}
	return nil
}
