package vmspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

// betaStorageClass is how a claim named its class before spec.storageClassName.
const betaStorageClass = "volume.beta.kubernetes.io/storage-class"

// rebuildClaim is the claim for a restored disk, bound to volume by name.
func rebuildClaim(old *corev1.PersistentVolumeClaim, d Disk, name string, o Options) *corev1.PersistentVolumeClaim {
	spec := old.Spec.DeepCopy()
	c := &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Namespace:   o.Namespace,
			Labels:      relabel(carry(old.Labels, importer), o.NewName),
			Annotations: carry(old.Annotations, foreign, bound, populated),
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      spec.AccessModes,
			VolumeMode:       spec.VolumeMode,
			StorageClassName: storageClass(old),
			VolumeName:       o.Volumes[d.Name],
			Resources:        spec.Resources,
		},
	}
	if o.RestoreUID != "" {
		c.Labels[v1alpha1.LabelRestore] = string(o.RestoreUID)
	}
	if d.Kind == KindPersistentState {
		c.Labels[LabelPersistentState] = o.NewName
	}
	if size, ok := o.Sizes[d.Name]; ok {
		if c.Spec.Resources.Requests == nil {
			c.Spec.Resources.Requests = corev1.ResourceList{}
		}
		c.Spec.Resources.Requests[corev1.ResourceStorage] = *resource.NewQuantity(size, resource.BinarySI)
	}
	// Limits on claims have no effect in Kubernetes, and one below the size
	// that was restored would be refused.
	c.Spec.Resources.Limits = nil
	return c
}

// importer are the labels of CDI, which fills claims.
func importer(label string) bool {
	prefix, _, _ := strings.Cut(label, "/")
	switch label {
	case "app.kubernetes.io/component", "app.kubernetes.io/part-of", "kubevirt.io/created-by", "alerts.k8s.io/KubePersistentVolumeFillingUp":
		return true
	}
	return prefix == "cdi.kubevirt.io"
}

// storageClass is the claim's class, never nil: without a class the cluster's
// default would be filled in, and the claim would not match its volume.
func storageClass(c *corev1.PersistentVolumeClaim) *string {
	class := c.Annotations[betaStorageClass]
	if c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	return &class
}

// claimName is the new name of a disk's claim.
func claimName(d Disk, o Options) string {
	if d.Kind == KindPersistentState {
		return StateClaimName(o.NewName, o.RestoreUID)
	}
	return ClaimName(o.NewName, d.Name)
}

// sameDisks is nil when the captured disks are those of the VM's spec.
func sameDisks(spec, captured []Disk) error {
	have := map[Disk]bool{}
	for _, d := range captured {
		have[d] = true
	}
	for _, d := range spec {
		if !have[d] {
			return fmt.Errorf("the backup does not hold disk %s (claim %s) of the VM", d.Name, d.Claim)
		}
		delete(have, d)
	}
	for _, d := range captured {
		if have[d] {
			return fmt.Errorf("the backup holds disk %s (claim %s), which the VM does not have", d.Name, d.Claim)
		}
	}
	return nil
}
