package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestCoordinatorKilledAtEachStepOfAReplace is TestCoordinatorKilledAtEachStep
// for a restore that replaces a VM and deletes its former volumes, which has
// every step of one that retains them. At any moment the VM has either all of
// its former disks or all of its restored ones, and they are there.
func TestCoordinatorKilledAtEachStepOfAReplace(t *testing.T) {
	t.Parallel()
	w := newStepWalk(t)
	w.cuts = -1 // the disk's volume is another each time
	w.secret("keys", "ssh-ed25519 AAAA someone")
	sums := map[string]map[string]string{}
	sums["point-0"] = w.stoppedVM("vm", 16*mib)
	w.editVM("vm", func(vm *kubevirt.VirtualMachine) {
		vm.Spec.Template.Spec.AccessCredentials = []kubevirt.AccessCredential{{SSHPublicKey: &kubevirt.SSHPublicKeyAccessCredential{
			Source:            kubevirt.SSHPublicKeyAccessCredentialSource{Secret: &kubevirt.AccessCredentialSecretSource{SecretName: "keys"}},
			PropagationMethod: kubevirt.SSHPublicKeyAccessCredentialPropagationMethod{NoCloud: &kubevirt.NoCloudSSHPublicKeyAccessCredentialPropagation{}},
		}}}
	})
	// Not Halted, so that the restored VM is given its strategy by a write of its
	// own; and one that starts nothing, so that its disks can be read.
	w.setStrategy("vm", kubevirt.RunStrategyManual)
	uid := w.vm("vm").UID
	w.backup("point-0", "vm")
	w.awaitBackup("point-0", v1alpha1.BackupReady)
	sums["point-1"] = w.scrambled("vm", 1)
	w.backup("point-1", "vm")
	w.awaitBackup("point-1", v1alpha1.BackupReady)

	point := func(k int) string { return fmt.Sprintf("point-%d", k%2) }
	w.walk(steps{
		what:    "replace",
		beside:  pointSeen,
		prepare: func(k int) { w.scrambled("vm", 1000+k) },
		begin:   func(k int) { w.replace(fmt.Sprintf("replace-%d", k), point(k), "vm", v1alpha1.VolumesDelete, nil) },
		done: func(k int) (bool, string) {
			w.requireNoHalf("vm")
			return w.restoreReady(fmt.Sprintf("replace-%d", k))
		},
		check: func(k int) {
			r := w.awaitRestore(fmt.Sprintf("replace-%d", k), v1alpha1.RestoreReady)
			w.requireMadeOnce(r)
			w.requireDisks("vm", sums[point(k)])
			vm := w.vm("vm")
			require.Equal(t, uid, vm.UID)
			require.Equal(t, kubevirt.RunStrategyManual, *vm.Spec.RunStrategy)
			require.NotContains(t, vm.Annotations, "hayloft.dev/run-strategy")
			w.awaitFormerGone(r)
			w.requireSecrets("keys", vm.Spec.Template.Spec.AccessCredentials[0].SSHPublicKey.Source.Secret.SecretName)
		},
	})
	w.disarm()
	w.nothingLeft()
	require.NotContains(t, w.victim().Log(t), "DATA RACE")
}

// requireSecrets: the Secrets that were made for VMs are just these.
func (w *world) requireSecrets(names ...string) {
	w.t.Helper()
	var list corev1.SecretList
	require.NoError(w.t, w.c.List(w.ctx, &list, client.InNamespace(w.ns)))
	var found []string
	for _, s := range list.Items {
		if s.Type == corev1.SecretTypeOpaque {
			found = append(found, s.Name)
		}
	}
	require.ElementsMatch(w.t, names, found)
}

// requireNoHalf: every claim and Secret that a VM names is there and stays.
func (w *world) requireNoHalf(name string) {
	w.t.Helper()
	vm := w.vm(name)
	var half []string
	look := func(o client.Object, name string) {
		err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, o)
		if err != nil || o.GetDeletionTimestamp() != nil {
			half = append(half, fmt.Sprintf("%T %s: deleted or being deleted (%v)", o, name, err))
		}
	}
	for disk, claim := range claimsIn(vm) {
		c := &corev1.PersistentVolumeClaim{}
		look(c, claim)
		if c.Status.Phase != corev1.ClaimBound || c.Labels[v1alpha1.LabelRestore] != vm.Labels[v1alpha1.LabelRestore] {
			half = append(half, fmt.Sprintf("disk %s is on claim %s: %s", disk, claim, words(c)))
		}
	}
	for _, a := range vm.Spec.Template.Spec.AccessCredentials {
		look(&corev1.Secret{}, a.SSHPublicKey.Source.Secret.SecretName)
	}
	if w.vm(name).Labels[v1alpha1.LabelRestore] == vm.Labels[v1alpha1.LabelRestore] { // else it was replaced while we looked
		require.Empty(w.t, half, "VM with label %q", vm.Labels[v1alpha1.LabelRestore])
	}
}
