package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestRestoreElsewhere: a backup is restored into another namespace, which has
// other storage classes and networks, and one disk of it as a claim. The point
// waits for readers in any namespace before it goes.
func TestRestoreElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	w.networkDefinitions()
	w.network("lan")
	class := w.ownClass("fast")
	for i, disk := range []string{"shop-root", "shop-data"} {
		w.claimOf(disk, class.Name, 16*mib)
		w.disk("fill", disk, "--seed", []string{"1", "2"}[i], "--length", "8388608")
	}
	sums := map[string]string{"root": w.sha256("shop-root"), "data": w.sha256("shop-data")}
	w.secret("keys", "ssh-ed25519 AAAA someone")
	w.refusalVM("shop", []string{"shop-root", "shop-data"}, func(vm *kubevirt.VirtualMachine) {
		spec := &vm.Spec.Template.Spec
		spec.Networks = []kubevirt.Network{{Name: "lan", NetworkSource: kubevirt.NetworkSource{Multus: &kubevirt.MultusNetwork{NetworkName: "lan"}}}}
		spec.Domain.Devices.Interfaces = []kubevirt.Interface{{Name: "lan", InterfaceBindingMethod: kubevirt.InterfaceBindingMethod{Bridge: &kubevirt.InterfaceBridge{}}}}
		spec.AccessCredentials = []kubevirt.AccessCredential{{SSHPublicKey: &kubevirt.SSHPublicKeyAccessCredential{
			Source:            kubevirt.SSHPublicKeyAccessCredentialSource{Secret: &kubevirt.AccessCredentialSecretSource{SecretName: "keys"}},
			PropagationMethod: kubevirt.SSHPublicKeyAccessCredentialPropagationMethod{NoCloud: &kubevirt.NoCloudSSHPublicKeyAccessCredentialPropagation{}},
		}}}
	})
	gate := w.kitGate()
	w.backupTo(gate.target, "point", "shop")
	w.awaitBackup("point", v1alpha1.BackupReady)

	b := *w
	b.ns = harness.Namespace(t, w.Config)
	there := func(name string, change func(*v1alpha1.VMRestoreSpec)) *v1alpha1.VMRestore {
		r := &v1alpha1.VMRestore{}
		r.Namespace, r.Name = b.ns, name
		r.Spec.Backup, r.Spec.BackupNamespace = "point", w.ns
		change(&r.Spec)
		b.mustMake(r)
		return r
	}
	newVM := func(s *v1alpha1.VMRestoreSpec) { s.NewVM, s.HaltAfterRestore = "shop", true }
	there("unmapped", newVM)
	b.refusedRestore("unmapped", soon, "NetworkAttachmentDefinition "+b.ns+"/lan, which the VM needs, does not exist here")
	there("unknown-class", func(s *v1alpha1.VMRestoreSpec) {
		newVM(s)
		s.StorageClasses = map[string]string{"slow": "longhorn"}
	})
	b.refusedRestore("unknown-class", soon, `spec.storageClasses names "slow", but no such StorageClass is in the backup (it has: `+class.Name+")")
	there("unknown-network", func(s *v1alpha1.VMRestoreSpec) {
		newVM(s)
		s.Networks = map[string]string{"lab/lan": w.ns + "/lan"}
	})
	b.refusedRestore("unknown-network", soon, `spec.networks names "lab/lan", but no such network is in the backup (it has: `+w.ns+"/lan)")
	w.mustRemove(class)
	there("missing-class", func(s *v1alpha1.VMRestoreSpec) {
		newVM(s)
		s.StorageClasses = map[string]string{class.Name: "nowhere"}
	})
	b.refusedRestore("missing-class", soon, "there is no StorageClass nowhere: create it, or name another")
	there("no-such-disk", func(s *v1alpha1.VMRestoreSpec) { s.DiskClaim = &v1alpha1.DiskClaim{Disk: "swap", Claim: "c"} })
	b.refusedRestore("no-such-disk", soon, `spec.diskClaim.disk: VMBackup point has no disk "swap": choose one of root, data`)

	onto := map[string]string{class.Name: "longhorn"}
	there("one-disk", func(s *v1alpha1.VMRestoreSpec) {
		s.DiskClaim, s.StorageClasses = &v1alpha1.DiskClaim{Disk: "data", Claim: "rescued"}, onto
	})
	b.awaitRestore("one-disk", v1alpha1.RestoreReady)
	require.Equal(t, sums["data"], b.sha256("rescued"))
	rescued := &corev1.PersistentVolumeClaim{}
	require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: b.ns, Name: "rescued"}, rescued))
	require.Empty(t, rescued.OwnerReferences)
	require.Equal(t, "shop", rescued.Labels[v1alpha1.LabelFormerVM])
	require.Equal(t, "longhorn", *rescued.Spec.StorageClassName)
	var vms kubevirt.VirtualMachineList
	require.NoError(t, w.c.List(w.ctx, &vms, client.InNamespace(b.ns)))
	require.Empty(t, vms.Items)
	there("taken", func(s *v1alpha1.VMRestoreSpec) {
		s.DiskClaim, s.StorageClasses = &v1alpha1.DiskClaim{Disk: "data", Claim: "rescued"}, onto
	})
	b.refusedRestore("taken", soon, "PersistentVolumeClaim rescued exists already in namespace "+b.ns+": choose another name in spec.diskClaim.claim")

	release := gate.holdReads(1)
	there("r", func(s *v1alpha1.VMRestoreSpec) {
		newVM(s)
		s.StorageClasses, s.Networks = onto, map[string]string{w.ns + "/lan": w.ns + "/lan"}
	})
	b.awaitTransfer("restore")
	w.deletePoints("point")
	w.eventually("the point to wait for its reader", func() (bool, string) {
		said := conditionText(w.pointNow("point").Status.Conditions, v1alpha1.ConditionProgressing)
		return strings.Contains(said, "being read by VMRestore "+b.ns+"/r"), said
	})
	release()
	t.Logf("the point is read to its end")
	b.awaitRestore("r", v1alpha1.RestoreReady)
	b.requireDisks("shop", sums)
	vm := b.vm("shop")
	require.Equal(t, w.ns+"/lan", vm.Spec.Template.Spec.Networks[0].Multus.NetworkName)
	keys := &corev1.Secret{}
	require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: b.ns, Name: vm.Spec.Template.Spec.AccessCredentials[0].SSHPublicKey.Source.Secret.SecretName}, keys))
	require.Equal(t, "ssh-ed25519 AAAA someone", string(keys.Data["key"]))
	_, said := w.pointGone("point")
	t.Log(said)
	w.awaitGone("point")
	w.nothingLeft()
}

func (w *world) secret(name, value string) {
	w.t.Helper()
	s := &corev1.Secret{StringData: map[string]string{"key": value}}
	s.Namespace, s.Name = w.ns, name
	w.mustMake(s)
}

// TestReplaceIsGivenUp: whatever ends a replacing restore before the swap leaves
// the VM as it is, and nothing of the restore.
func TestReplaceIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	sums := w.stoppedVM("shop", 16*mib)
	w.stoppedVM("other", 16*mib)
	gate := w.kitGate()
	w.backupTo(gate.target, "point", "shop")
	w.awaitBackup("point", v1alpha1.BackupReady)
	before := w.vm("shop")
	unchanged := func() {
		t.Helper()
		now := w.vm("shop")
		require.Equal(t, before.Spec.Template, now.Spec.Template)
		require.Equal(t, before.Labels, now.Labels)
		require.NotContains(t, now.Annotations, "hayloft.dev/restore-given-up")
		w.nothingLeft()
	}

	w.replace("wrong-vm", "point", "other", v1alpha1.VolumesRetain, nil)
	w.refusedRestore("wrong-vm", soon, `spec.replace.vm is "other", but VMBackup point is of VM "shop"`)
	w.replace("no-snapshot", "point", "shop", v1alpha1.VolumesDelete, func(s *v1alpha1.VMRestoreSpec) {
		s.Replace.DeleteSnapshots = []string{"none"}
	})
	w.refusedRestore("no-snapshot", soon, `spec.replace.deleteSnapshots names "none"`)

	release := gate.holdReads(1)
	w.replace("cancelled", "point", "shop", v1alpha1.VolumesDelete, nil)
	w.awaitTransfer("restore")
	w.replace("rival", "point", "shop", v1alpha1.VolumesRetain, nil)
	w.refusedRestore("rival", soon, "VMRestore cancelled is restoring into VM shop already: wait for its end")
	w.cancelRestore("cancelled")
	r := w.awaitRestore("cancelled", v1alpha1.RestoreFailed)
	reason, _ := readyWords(t, r)
	require.Equal(t, "Cancelled", reason)
	release()
	unchanged()
	w.requireDisks("shop", sums)

	release = gate.holdReads(1)
	w.restore("new", "point", "copy")
	w.awaitTransfer("restore")
	w.cancelRestore("new")
	reason, _ = readyWords(t, w.awaitRestore("new", v1alpha1.RestoreFailed))
	require.Equal(t, "Cancelled", reason)
	release()
	unchanged()

	release = gate.holdReads(1)
	w.replace("started", "point", "shop", v1alpha1.VolumesDelete, nil)
	w.awaitTransfer("restore")
	w.setStrategy("shop", kubevirt.RunStrategyAlways)
	w.awaitRunning("shop")
	release()
	w.refusedRestore("started", patience, "the VM was not replaced and is as it was", "shop")
	unchanged()
	require.Equal(t, map[string]string{"root": "shop-root"}, w.claimsOf("shop"))
	w.guest("quiet", "shop")
}

func (w *world) cancelRestore(name string) {
	w.t.Helper()
	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name = w.ns, name
	w.patch(r, `{"spec":{"cancel":true}}`)
}
