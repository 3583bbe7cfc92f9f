package csi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	minimalSize   = 10 << 20 // bytes; Longhorn makes no smaller volume
	sizeUnit      = 2 << 20  // bytes; sizes are rounded up to it
	staleReplicas = 2880     // minutes, Longhorn's default
)

// claims makes volumes for PVCs.
type claims struct {
	client    client.Client
	namespace string
}

// Reconcile makes the Volume and then the PV of one PVC. Binding them is the API server's controllers' work.
func (c *claims) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := c.client.Get(ctx, req.NamespacedName, claim); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == "" || claim.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	class := &storagev1.StorageClass{}
	if err := c.client.Get(ctx, client.ObjectKey{Name: *claim.Spec.StorageClassName}, class); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !shouldProvision(claim, class) {
		return ctrl.Result{}, nil
	}
	vol, err := newVolume(claim, class, c.namespace)
	if err != nil {
		return ctrl.Result{}, reconcile.TerminalError(fmt.Errorf("provisioning for PVC %s: %w", req, err))
	}
	if err := c.client.Create(ctx, vol); err != nil && !apierrors.IsAlreadyExists(err) {
		return ctrl.Result{}, fmt.Errorf("provisioning for PVC %s: %w", req, err)
	}
	if err := c.client.Get(ctx, client.ObjectKeyFromObject(vol), vol); err != nil {
		return ctrl.Result{}, fmt.Errorf("provisioning for PVC %s: %w", req, err)
	}
	if vol.Status.State == "" || vol.Status.State == lh.VolumeStateCreating {
		return ctrl.Result{RequeueAfter: nextLook(vol.CreationTimestamp.Time)}, nil
	}
	if err := c.client.Create(ctx, newPV(claim, class, vol)); err != nil && !apierrors.IsAlreadyExists(err) {
		return ctrl.Result{}, fmt.Errorf("provisioning for PVC %s: %w", req, err)
	}
	return ctrl.Result{}, nil
}

// shouldProvision is the provisioner's rule: the claim is unbound, the PV controller asked this driver for it, and where
// the class waits for a consumer there is one.
func shouldProvision(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) bool {
	if claim.Spec.VolumeName != "" || class.Provisioner != Driver {
		return false
	}
	if claim.Annotations[storageProvisioner] != Driver && claim.Annotations[provisionerBeta] != Driver {
		return false
	}
	waits := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	return !waits || claim.Annotations[selectedNode] != ""
}

// newVolume is the Volume for a claim, from the class's parameters as Longhorn reads them.
func newVolume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, namespace string) (*lh.Volume, error) {
	vol := volume(namespace, name(claim))
	vol.Spec = lh.VolumeSpec{
		Size:                size(claim),
		Frontend:            lh.VolumeFrontendBlockDev,
		AccessMode:          lh.AccessModeReadWriteOnce,
		StaleReplicaTimeout: staleReplicas,
		DataEngine:          lh.DataEngineTypeV1,
		BackingImage:        class.Parameters[lh.BackingImageParameterName],
	}
	if slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteMany) || slices.Contains(claim.Spec.AccessModes, corev1.ReadOnlyMany) {
		vol.Spec.AccessMode = lh.AccessModeReadWriteMany
	}
	if engine := class.Parameters["dataEngine"]; engine != "" {
		vol.Spec.DataEngine = lh.DataEngineType(engine)
	}
	if value := class.Parameters["numberOfReplicas"]; value != "" {
		count, err := strconv.Atoi(value)
		if err != nil || count < 0 {
			return nil, fmt.Errorf("invalid parameter numberOfReplicas %q", value)
		}
		vol.Spec.NumberOfReplicas = count
	}
	for parameter, field := range map[string]*bool{"migratable": &vol.Spec.Migratable, "encrypted": &vol.Spec.Encrypted} {
		if value := class.Parameters[parameter]; value != "" {
			on, err := strconv.ParseBool(value)
			if err != nil {
				return nil, fmt.Errorf("invalid parameter %s %q", parameter, value)
			}
			*field = on
		}
	}
	vol.Spec.RevisionCounterDisabled = true
	if value := class.Parameters["disableRevisionCounter"]; value != "" {
		disabled, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("invalid parameter disableRevisionCounter %q", value)
		}
		vol.Spec.RevisionCounterDisabled = disabled
	}
	// A class can say migratable for all its volumes; only the shared ones are.
	vol.Spec.Migratable = vol.Spec.Migratable && vol.Spec.AccessMode == lh.AccessModeReadWriteMany
	return vol, nil
}

func newPV(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, vol *lh.Volume) *corev1.PersistentVolume {
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	mode := corev1.PersistentVolumeFilesystem
	if claim.Spec.VolumeMode != nil {
		mode = *claim.Spec.VolumeMode
	}
	source := &corev1.CSIPersistentVolumeSource{
		Driver:           Driver,
		VolumeHandle:     vol.Name,
		VolumeAttributes: maps.Clone(class.Parameters),
	}
	if source.VolumeAttributes == nil {
		source.VolumeAttributes = map[string]string{}
	}
	source.VolumeAttributes["storage.kubernetes.io/csiProvisionerIdentity"] = "stand-in-" + Driver
	if mode == corev1.PersistentVolumeFilesystem {
		source.FSType = "ext4"
	}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name(claim),
			Annotations: map[string]string{provisionedBy: Driver, deletionSecret: "", deletionSecretSpace: ""},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(vol.Spec.Size, resource.BinarySI)},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			MountOptions:                  class.MountOptions,
			VolumeMode:                    &mode,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: source},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
		},
	}
	if policy == corev1.PersistentVolumeReclaimDelete {
		pv.Finalizers = []string{Finalizer}
	}
	return pv
}

// name is that of a claim's volume and PV.
func name(claim *corev1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// size is what a claim asks for, in bytes, as Longhorn rounds it.
func size(claim *corev1.PersistentVolumeClaim) int64 {
	asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	bytes := max(asked.Value(), minimalSize)
	return (bytes + sizeUnit - 1) / sizeUnit * sizeUnit
}
