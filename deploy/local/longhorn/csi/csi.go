// Package csi stands in for the provisioner sidecar of driver.longhorn.io and for what longhorn-manager writes about PVs:
// a PVC of one of Longhorn's storage classes gets a Volume and a PV, and the Volume of a PV that is released with the
// policy Delete goes with it. It follows external-provisioner v5: a PV that it did not make, as its annotation
// pv.kubernetes.io/provisioned-by tells, is left alone.
//
// Attaching is not here: nobody runs pods, and whoever uses a volume writes the csi-attacher ticket that the attacher
// would have the manager write. Neither are topology, expansion, snapshots, clones and mounting.
package csi

import (
	"context"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// Driver is the name of Longhorn's CSI driver.
	Driver = "driver.longhorn.io"
	// Finalizer keeps a PV until its volume is deleted, whichever of PV and PVC was deleted first.
	Finalizer = "external-provisioner.volume.kubernetes.io/finalizer"

	provisionedBy       = "pv.kubernetes.io/provisioned-by"
	storageProvisioner  = "volume.kubernetes.io/storage-provisioner"
	provisionerBeta     = "volume.beta.kubernetes.io/storage-provisioner"
	selectedNode        = "volume.kubernetes.io/selected-node"
	deletionSecret      = "volume.kubernetes.io/provisioner-deletion-secret-name"
	deletionSecretSpace = "volume.kubernetes.io/provisioner-deletion-secret-namespace"
)

// Options of Setup.
type Options struct {
	Namespace string // Longhorn's
	// BesideManager: the real longhorn-manager runs, and itself writes which PV a volume belongs to.
	BesideManager bool
}

// Setup adds the controllers. c reads uncached.
func Setup(mgr ctrl.Manager, c client.Client, o Options) error {
	claims := &claims{client: c, namespace: o.Namespace}
	if err := ctrl.NewControllerManagedBy(mgr).
		Named("csi-provisioner").
		For(&corev1.PersistentVolumeClaim{}).
		// A class that comes after its claims.
		Watches(&storagev1.StorageClass{}, handler.EnqueueRequestsFromMapFunc(claims.ofClass)).
		Complete(claims); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("csi-deleter").
		For(&corev1.PersistentVolume{}).
		Complete(&persistentVolumes{client: c, namespace: o.Namespace, isNoted: o.BesideManager})
}

// ofClass are the claims that name a class.
func (c *claims) ofClass(ctx context.Context, class client.Object) []reconcile.Request {
	var list corev1.PersistentVolumeClaimList
	if err := c.client.List(ctx, &list); err != nil {
		return nil // the claims' own events come again
	}
	var out []reconcile.Request
	for _, claim := range list.Items {
		if claim.Spec.StorageClassName != nil && *claim.Spec.StorageClassName == class.GetName() && claim.Spec.VolumeName == "" {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&claim)})
		}
	}
	return out
}

// volume is a Longhorn volume with only its name.
func volume(namespace, name string) *lh.Volume {
	return &lh.Volume{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// nextLook is after what time a volume is looked at again that something has been awaited of since then: the local stack does it in
// a tenth of a second, the real manager in many, and each look costs the API server.
func nextLook(since time.Time) time.Duration {
	return min(max(time.Since(since)/10, 50*time.Millisecond), 500*time.Millisecond)
}
