package control_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/pkg/api/v1alpha1"
)

// With volumes Delete the former claims are there until the restored VM runs:
// until then nobody knows whether it does.
func TestFormerClaimsStayUntilTheRestoredVMRuns(t *testing.T) {
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	require.NoError(t, unstructured.SetNestedField(w.fake.vm.Object, "Always", "spec", "runStrategy"))
	s := w.replace("r1", b.Name, "web", v1alpha1.VolumesDelete)
	w.restored(s, session)
	vm := w.vmObject("web")
	w.eventually("the restored VM is to run", func() bool {
		strategy, _, _ := unstructured.NestedString(vm.Object, "spec", "runStrategy")
		return w.refresh(vm) && strategy == "Always"
	})
	require.Equal(t, s.Status.Disks[0].Claim, claimOfDisk(t, vm, 0))
	former := func(disk string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "web-" + disk, Namespace: w.ns}}
	}
	there := func() bool {
		root, data := former("root"), former("data")
		return w.refresh(root) && w.refresh(data) && root.DeletionTimestamp.IsZero() && data.DeletionTimestamp.IsZero()
	}
	w.eventually("the restore to wait for the VM", func() bool {
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionProgressing)
		return w.refresh(s) && c != nil && c.Message == "waiting until VM web runs, to delete its former volumes"
	})
	vmi := w.instance("web", "Scheduling")
	w.holds("the former claims are there while the VM only starts", 500*time.Millisecond, func() bool { return there() && w.refresh(s) && s.Status.Phase != v1alpha1.RestoreReady })

	require.NoError(t, unstructured.SetNestedField(vmi.Object, "Running", "status", "phase"))
	require.NoError(t, w.client.Update(w.ctx, vmi))
	w.eventually("the former claims to be deleted", func() bool {
		w.unprotect(former(""))
		return !w.refresh(former("root")) && !w.refresh(former("data"))
	})
	w.awaitRestore(s, v1alpha1.RestoreReady)
}

// instance plays KubeVirt: a VM's instance is there, in a phase.
func (w *world) instance(vm, phase string) *unstructured.Unstructured {
	w.t.Helper()
	vmi := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"domain": map[string]any{"devices": map[string]any{}}}}}
	vmi.SetAPIVersion("kubevirt.io/v1")
	vmi.SetKind("VirtualMachineInstance")
	vmi.SetNamespace(w.ns)
	vmi.SetName(vm)
	w.create(vmi)
	require.NoError(w.t, unstructured.SetNestedField(vmi.Object, phase, "status", "phase"))
	require.NoError(w.t, w.client.Update(w.ctx, vmi))
	return vmi
}

// A Snapshot that is taken while the disks are being restored would go with the
// former volumes, and nobody has named it: the VM stays as it was.
func TestASnapshotTakenMeanwhileForbidsToDeleteItsVolumes(t *testing.T) {
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	s := w.replace("r1", b.Name, "web", v1alpha1.VolumesDelete)
	w.eventually("disks of the restore", func() bool { return w.refresh(s) && len(s.Status.Disks) > 0 })
	late := w.keptPoint("late", session)
	for _, d := range s.Status.Disks {
		w.fill(s, d.Name, 1, session, "r0", "r1")
	}
	w.eventually("the restore to be refused, and what it made to be removed", func() bool {
		w.unprotect(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns}})
		for i := range s.Status.Disks {
			c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: s.Status.Disks[i].Claim, Namespace: w.ns}}
			if w.refresh(c) && c.Status.Phase != corev1.ClaimBound {
				w.bind(c)
			}
		}
		return w.refresh(s) && s.Status.Phase == v1alpha1.RestoreFailed
	})
	_, message := ready(s.Status.Conditions)
	require.Contains(t, message, "the VM was not replaced and is as it was")
	require.Contains(t, message, "late")
	vm := w.vmObject("web")
	require.True(t, w.refresh(vm))
	require.Equal(t, "web-root", claimOfDisk(t, vm, 0))
	require.True(t, w.refresh(late))
	require.Equal(t, v1alpha1.BackupReady, late.Status.Phase)
}
