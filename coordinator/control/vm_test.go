package control_test

import (
	"maps"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/rules"
)

// vm makes a VM with disks "root" and "data" on Longhorn volumes of 64 MiB.
func (w *world) vm(name string) *unstructured.Unstructured {
	w.t.Helper()
	w.class("longhorn-" + w.ns)
	for _, disk := range []string{"root", "data"} {
		w.disk(name+"-"+disk, "vol-"+w.ns+"-"+name+"-"+disk)
	}
	vm := w.vmObject(name, name+"-root", name+"-data")
	w.create(vm)
	return vm
}

func (w *world) class(name string) {
	w.t.Helper()
	policy := corev1.PersistentVolumeReclaimDelete
	err := w.client.Create(w.ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: rules.Driver, ReclaimPolicy: &policy,
	})
	require.NoError(w.t, client.IgnoreAlreadyExists(err))
}

// disk makes a bound claim on a Longhorn volume.
func (w *world) disk(claim, volume string) {
	w.t.Helper()
	w.create(w.volume(volume, nil))
	w.claimOn(claim, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + volume},
		Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
			CSI: &corev1.CSIPersistentVolumeSource{Driver: rules.Driver, VolumeHandle: volume},
		}},
	})
}

// volume is a Longhorn volume as its webhook would let it through.
func (w *world) volume(name string, spec map[string]any) *unstructured.Unstructured {
	all := map[string]any{
		"size": "67108864", "numberOfReplicas": int64(2), "dataEngine": "v1", "accessMode": "rwx", "migratable": true, "frontend": "blockdev",
	}
	maps.Copy(all, spec)
	u := &unstructured.Unstructured{Object: map[string]any{"spec": all}}
	u.SetGroupVersionKind(plan.KindVolume)
	u.SetName(name)
	u.SetNamespace(w.lh)
	return u
}

func (w *world) claimOn(claim string, pv *corev1.PersistentVolume) {
	w.t.Helper()
	class := "longhorn-" + w.ns
	mode := corev1.PersistentVolumeBlock
	pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")}
	pv.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	pv.Spec.StorageClassName, pv.Spec.VolumeMode = class, &mode
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claim, Namespace: w.ns},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: pv.Spec.AccessModes, StorageClassName: &class, VolumeMode: &mode, VolumeName: pv.Name,
			Resources: corev1.VolumeResourceRequirements{Requests: pv.Spec.Capacity},
		},
	}
	w.create(pv, c)
	w.bind(c)
}

// bind plays kube-controller-manager's volume binder.
func (w *world) bind(c *corev1.PersistentVolumeClaim) {
	w.t.Helper()
	c.Status.Phase = corev1.ClaimBound
	require.NoError(w.t, w.client.Status().Update(w.ctx, c))
}

func (w *world) vmObject(name string, claims ...string) *unstructured.Unstructured {
	var volumes, disks []any
	for i, claim := range claims {
		disk := []string{"root", "data", "third"}[i]
		volumes = append(volumes, map[string]any{"name": disk, "persistentVolumeClaim": map[string]any{"claimName": claim}})
		disks = append(disks, map[string]any{"name": disk, "disk": map[string]any{"bus": "virtio"}})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
		"metadata": map[string]any{"name": name, "namespace": w.ns},
		"spec": map[string]any{
			"runStrategy": "Halted",
			"template": map[string]any{"spec": map[string]any{
				"domain":  map[string]any{"devices": map[string]any{"disks": disks}},
				"volumes": volumes,
			}},
		},
	}}
}
