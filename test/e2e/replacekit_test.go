package e2e

import (
	"fmt"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// editVM changes a VM, which its controller may be writing to as well.
func (w *world) editVM(name string, edit func(*kubevirt.VirtualMachine)) {
	w.t.Helper()
	require.NoError(w.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		vm := w.vm(name)
		edit(vm)
		return w.c.Update(w.ctx, vm)
	}))
}

// scrambled writes other data onto the disks of a VM that does not run, and
// returns their hashes. Whoever looks after a point's snapshots is waited for.
func (w *world) scrambled(vm string, seed int) map[string]string {
	w.t.Helper()
	var disks []string
	for disk := range w.claimsOf(vm) {
		disks = append(disks, disk)
	}
	return w.scrambledDisks(vm, seed, disks...)
}

func (w *world) scrambledDisks(vm string, seed int, disks ...string) map[string]string {
	w.t.Helper()
	w.nothingLeft()
	sums, claims := map[string]string{}, w.claimsOf(vm)
	for _, disk := range disks {
		w.disk("fill", claims[disk], "--seed", fmt.Sprint(seed), "--length", fmt.Sprint(4*mib))
		sums[disk] = w.sha256(claims[disk])
	}
	return sums
}

func (w *world) vm(name string) *kubevirt.VirtualMachine {
	w.t.Helper()
	vm := &kubevirt.VirtualMachine{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, vm))
	return vm
}

// claimsOf maps the disks of a VM -> their claims.
func (w *world) claimsOf(name string) map[string]string {
	w.t.Helper()
	return claimsIn(w.vm(name))
}

func claimsIn(vm *kubevirt.VirtualMachine) map[string]string {
	out := map[string]string{}
	for _, v := range vm.Spec.Template.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			out[v.Name] = v.PersistentVolumeClaim.ClaimName
		case v.DataVolume != nil:
			out[v.Name] = v.DataVolume.Name
		}
	}
	return out
}

// replace makes a VMRestore that replaces a VM; change may be nil.
func (w *world) replace(name, backup, vm string, volumes v1alpha1.VolumePolicy, change func(*v1alpha1.VMRestoreSpec)) *v1alpha1.VMRestore {
	w.t.Helper()
	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name = w.ns, name
	r.Spec.Backup, r.Spec.Replace = backup, &v1alpha1.Replace{VM: vm, Volumes: volumes}
	if change != nil {
		change(&r.Spec)
	}
	w.mustMake(r)
	return r
}

// requireDisks proves what is on the disks of a VM that does not run.
func (w *world) requireDisks(vm string, sums map[string]string) {
	w.t.Helper()
	claims := w.claimsOf(vm)
	require.Len(w.t, claims, len(sums))
	for disk, claim := range claims {
		require.Equal(w.t, sums[disk], w.sha256(claim), "disk %s of VM %s on claim %s", disk, vm, claim)
	}
}

// requireRetained proves that a replaced VM's former claims are there, with what
// was on them, labelled and used by nobody.
func (w *world) requireRetained(r *v1alpha1.VMRestore, sums map[string]string) {
	w.t.Helper()
	require.Len(w.t, r.Status.Former, len(sums))
	for _, f := range r.Status.Former {
		require.Equal(w.t, v1alpha1.FormerRetained, f.State)
		c := &corev1.PersistentVolumeClaim{}
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: f.Claim}, c))
		require.Equal(w.t, f.UID, c.UID)
		require.Equal(w.t, r.Spec.Replace.VM, c.Labels[v1alpha1.LabelFormerVM])
		require.Equal(w.t, f.Disk, c.Labels[v1alpha1.LabelFormerDisk])
		require.Empty(w.t, c.OwnerReferences)
		require.Equal(w.t, sums[f.Disk], w.sha256(f.Claim), "former disk %s", f.Disk)
		w.awaitDetached(f.Claim)
	}
}

// awaitFormerGone waits until claims and volumes of a replaced VM are deleted.
func (w *world) awaitFormerGone(r *v1alpha1.VMRestore) {
	w.t.Helper()
	require.NotEmpty(w.t, r.Status.Former)
	for _, f := range r.Status.Former {
		require.Equal(w.t, v1alpha1.FormerDeleted, f.State)
		w.eventually("former claim "+f.Claim+" and its volume to be gone", func() (bool, string) {
			claim := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: f.Claim}, &corev1.PersistentVolumeClaim{})
			volume := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: f.Volume}, &longhorn.Volume{})
			return apierrors.IsNotFound(claim) && apierrors.IsNotFound(volume), fmt.Sprint(claim, volume)
		})
	}
}

// setStrategy changes a VM's run strategy.
func (w *world) setStrategy(vm string, s kubevirt.VirtualMachineRunStrategy) {
	w.t.Helper()
	w.patch(w.vm(vm), fmt.Sprintf(`{"spec":{"runStrategy":%q}}`, s))
}

// awaitStopped waits until a VM has no instance that runs.
func (w *world) awaitStopped(name string) {
	w.t.Helper()
	w.eventually("VM "+name+" to be stopped", func() (bool, string) {
		vm := w.vm(name)
		return vm.Status.PrintableStatus == kubevirt.VirtualMachineStatusStopped, string(vm.Status.PrintableStatus)
	})
}
