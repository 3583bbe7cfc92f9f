package vmspec

import (
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
			Labels:      o.claimLabels(old, d),
			Annotations: carry(old.Annotations, foreign, bound, populated),
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      spec.AccessModes,
			VolumeMode:       spec.VolumeMode,
			StorageClassName: o.storageClass(old),
			VolumeName:       o.Volumes[d.Name],
			Resources:        spec.Resources,
		},
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

func (o Options) claimLabels(old *corev1.PersistentVolumeClaim, d Disk) map[string]string {
	labels := relabel(carry(old.Labels, importer), o.NewName)
	if o.RestoreUID != "" {
		labels[v1alpha1.LabelRestore] = string(o.RestoreUID)
	}
	if d.Kind == KindPersistentState {
		labels[LabelPersistentState] = o.NewName
	}
	if o.Replace != nil {
		// KubeVirt takes any claim with this label for the VM's: while the VM
		// has its former one, there must be no second.
		delete(labels, LabelPersistentState)
	}
	return labels
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

// storageClass is the new claim's class, never nil: without a class the
// cluster's default would be filled in, and the claim would not match its volume.
func (o Options) storageClass(c *corev1.PersistentVolumeClaim) *string {
	class := StorageClass(c)
	if mapped, ok := o.StorageClasses[class]; ok {
		class = mapped
	}
	return &class
}

// StorageClass is the class that a claim was captured with, "" for none.
func StorageClass(c *corev1.PersistentVolumeClaim) string {
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName
	}
	return c.Annotations[betaStorageClass]
}
