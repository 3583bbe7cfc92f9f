package disk

import (
	"context"
	"errors"
	"fmt"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Driver is Longhorn's CSI driver.
const Driver = "driver.longhorn.io"

// ErrUnbound says that a claim has no volume yet.
var ErrUnbound = errors.New("claim is not bound")

// VolumeOf finds the Longhorn volume behind a claim: the handle of the PersistentVolume that it is bound to. It wraps
// ErrUnbound when there is none yet, and gives the API server's error when the claim does not exist.
func VolumeOf(ctx context.Context, c client.Reader, namespace, claim string) (string, error) {
	var pvc corev1.PersistentVolumeClaim
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: claim}, &pvc); err != nil {
		return "", fmt.Errorf("reading claim %s: %w", claim, err)
	}
	if pvc.Status.Phase != corev1.ClaimBound || pvc.Spec.VolumeName == "" {
		return "", fmt.Errorf("%w: %s is %s", ErrUnbound, claim, pvc.Status.Phase)
	}
	var pv corev1.PersistentVolume
	if err := c.Get(ctx, client.ObjectKey{Name: pvc.Spec.VolumeName}, &pv); err != nil {
		return "", fmt.Errorf("reading volume %s of claim %s: %w", pvc.Spec.VolumeName, claim, err)
	}
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != Driver {
		return "", fmt.Errorf("claim %s is not on Longhorn", claim)
	}
	return pv.Spec.CSI.VolumeHandle, nil
}

// nodeOf chooses where to attach a volume that is detached: a node with one of its replicas.
func nodeOf(ctx context.Context, c client.Reader, namespace, volume string) (string, error) {
	var replicas longhorn.ReplicaList
	err := c.List(ctx, &replicas, client.InNamespace(namespace), client.MatchingLabels{"longhornvolume": volume})
	if err != nil {
		return "", fmt.Errorf("listing the replicas of %s: %w", volume, err)
	}
	for _, replica := range replicas.Items {
		if replica.Spec.VolumeName == volume && replica.Spec.NodeID != "" {
			return replica.Spec.NodeID, nil
		}
	}
	return "", fmt.Errorf("volume %s has no replica on any node", volume)
}
