package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestCase5RestoreBackupFromDetachedVolumes is case 5 of Harvester's test plan
// for Longhorn's attachment rules: the backup of a VM that does not run is
// restored to a new VM, in place of the VM with its former volumes retained, and
// with them deleted.
func TestCase5RestoreBackupFromDetachedVolumes(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	all := newWorld(t, s)

	t.Run("new", func(t *testing.T) {
		w := all.forSubtest(t)
		sums := w.stoppedVM("shop", 16*mib, 24*mib)
		w.backup("point", "shop")
		w.awaitBackup("point", v1alpha1.BackupReady)
		w.scrambled("shop", 5)
		r := w.restore("r", "point", "copy")
		w.awaitRestore("r", v1alpha1.RestoreReady)
		w.requireDisks("copy", sums)
		require.Equal(t, "copy", r.Spec.NewVM)
		w.nothingLeft()
	})

	t.Run("replacing with retain", func(t *testing.T) {
		w := all.forSubtest(t)
		sums := w.stoppedVM("shop", 16*mib, 24*mib)
		before := w.vm("shop")
		w.backup("point", "shop")
		w.awaitBackup("point", v1alpha1.BackupReady)
		now := w.scrambled("shop", 5)
		w.replace("r", "point", "shop", v1alpha1.VolumesRetain, nil)
		r := w.awaitRestore("r", v1alpha1.RestoreReady)
		require.Equal(t, before.UID, w.vm("shop").UID, "it is the same object")
		require.Equal(t, before.UID, r.Status.VMUID)
		w.requireDisks("shop", sums)
		w.requireRetained(r, now)
		require.Contains(t, strings.Join(r.Status.Notes, "\n"), "former disks are in claims shop-")

		w.backup("again", "shop")
		again := w.awaitBackup("again", v1alpha1.BackupReady)
		for _, d := range again.Status.Disks {
			require.False(t, d.Incremental, "the volumes are new")
			require.Contains(t, d.Message, "full backup: the disk is on volume "+d.Volume+" now")
		}
		w.restore("r2", "again", "copy")
		w.awaitRestore("r2", v1alpha1.RestoreReady)
		w.requireDisks("copy", sums)

		// Deleting the restored VM takes no former claim along.
		w.mustRemove(w.vm("shop"))
		w.requireRetained(r, now)
		w.nothingLeft()
	})

	t.Run("replacing with delete", func(t *testing.T) {
		w := all.forSubtest(t)
		sums := w.stoppedVM("shop", 16*mib, 24*mib)
		w.backup("point", "shop")
		w.awaitBackup("point", v1alpha1.BackupReady)
		w.scrambled("shop", 5)
		w.replace("r", "point", "shop", v1alpha1.VolumesDelete, nil)
		r := w.awaitRestore("r", v1alpha1.RestoreReady)
		w.awaitFormerGone(r)
		w.requireDisks("shop", sums)

		// And once more, now from volumes that a restore made.
		w.scrambled("shop", 6)
		w.replace("r2", "point", "shop", v1alpha1.VolumesDelete, nil)
		w.awaitFormerGone(w.awaitRestore("r2", v1alpha1.RestoreReady))
		w.requireDisks("shop", sums)
		w.nothingLeft()
	})
}

// TestCase2ReplaceFromSnapshot: a stopped VM goes back to its snapshot, whose
// volumes are retained, so that it can go back once more. Replacing with delete
// takes snapshots along only by name.
func TestCase2ReplaceFromSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	sums := w.stoppedVM("shop", 16*mib, 16*mib)
	w.snapshot("snap", "shop")
	w.awaitBackup("snap", v1alpha1.BackupReady)
	w.backup("point", "shop")
	w.awaitBackup("point", v1alpha1.BackupReady)
	now := w.scrambled("shop", 5)

	w.replace("deletes", "snap", "shop", v1alpha1.VolumesDelete, nil)
	w.refusedRestore("deletes", soon, "spec.replace.volumes is Delete, but VMBackup snap is of type Snapshot and lives in those very volumes")
	w.replace("forgets", "point", "shop", v1alpha1.VolumesDelete, nil)
	w.refusedRestore("forgets", soon, "snap", "spec.replace.deleteSnapshots")

	w.replace("back", "snap", "shop", v1alpha1.VolumesRetain, nil)
	r := w.awaitRestore("back", v1alpha1.RestoreReady)
	w.requireDisks("shop", sums)
	w.requireRetained(r, now)
	require.Equal(t, v1alpha1.BackupReady, w.pointNow("snap").Status.Phase, "its volumes are there")

	w.scrambled("shop", 7)
	w.replace("back-again", "snap", "shop", v1alpha1.VolumesRetain, nil)
	w.awaitRestore("back-again", v1alpha1.RestoreReady)
	w.requireDisks("shop", sums)

	w.snapshot("goes-along", "shop")
	w.awaitBackup("goes-along", v1alpha1.BackupReady)
	w.replace("names", "point", "shop", v1alpha1.VolumesDelete, func(s *v1alpha1.VMRestoreSpec) {
		s.Replace.DeleteSnapshots = []string{"goes-along"}
	})
	w.awaitFormerGone(w.awaitRestore("names", v1alpha1.RestoreReady))
	w.awaitGone("goes-along")
	w.requireDisks("shop", sums)
	require.Equal(t, v1alpha1.BackupReady, w.pointNow("snap").Status.Phase, "it lives in other volumes")
	w.nothingLeft()
}

// TestReplaceOfARunningVM: replacing is refused while the VM runs, and works
// after its guest has shut down. The restored VM runs by itself; the former
// volumes go only then.
func TestReplaceOfARunningVM(t *testing.T) {
	t.Parallel()
	all := newWorld(t, newStack(t))
	for _, strategy := range []kubevirt.VirtualMachineRunStrategy{kubevirt.RunStrategyRerunOnFailure, kubevirt.RunStrategyManual} {
		t.Run(string(strategy), func(t *testing.T) {
			w := all.forSubtest(t)
			w.runningVM("shop", 16*mib)
			w.setStrategy("shop", strategy)
			sums := w.quietHashes("shop", "root")
			w.backup("point", "shop")
			w.awaitBackup("point", v1alpha1.BackupReady)
			w.rewritten("shop", "root", 0, mib, 9)

			w.replace("early", "point", "shop", v1alpha1.VolumesDelete, nil)
			w.refusedRestore("early", soon, "VirtualMachine shop is running (Running): shut it down, or stop it (virtctl stop shop)")
			require.NotEmpty(t, w.guest("hash", "shop", "--disk", "root"), "it runs on")

			w.guest("shutdown", "shop")
			w.awaitStopped("shop")
			w.replace("r", "point", "shop", v1alpha1.VolumesDelete, nil)
			r := w.awaitRestore("r", v1alpha1.RestoreReady)
			w.awaitFormerGone(r)
			vm := w.vm("shop")
			require.Equal(t, strategy, *vm.Spec.RunStrategy)
			require.NotContains(t, vm.Annotations, "hayloft.dev/run-strategy")
			if strategy == kubevirt.RunStrategyManual {
				w.requireDisks("shop", sums)
				w.nothingLeft()
				return
			}
			w.awaitRunning("shop")
			w.guest("quiet", "shop")
			w.nothingLeft()
		})
	}
}

// TestReplaceKeepsWhatTheVMIs: a VM with all that can go wrong is replaced: its
// address stays, its Secrets are those of the point, what would fill its disks
// again is gone, and its former TPM state is not found any more.
func TestReplaceKeepsWhatTheVMIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	state := w.fullVM("shop")
	for _, disk := range []string{"root", "data", state} {
		w.guest("fill", "shop", "--disk", disk, "--seed", "7", "--length", "1048576")
	}
	sums := w.quietHashes("shop", "root", "data", state)
	w.backup("point", "shop")
	w.awaitBackup("point", v1alpha1.BackupReady)
	before := w.vm("shop")

	// What the VM becomes after the point was taken.
	for _, disk := range []string{"root", "data", state} {
		w.guest("fill", "shop", "--disk", disk, "--seed", "8", "--length", "1048576")
	}
	w.setStrategy("shop", kubevirt.RunStrategyHalted)
	w.awaitStopped("shop")
	const mac = "02:00:00:00:00:99"
	w.patch(w.vm("shop"), `{"metadata":{"labels":{"app":"later"}}}`)
	require.NoError(t, w.c.Patch(w.ctx, w.vm("shop"), client.RawPatch(types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/spec/template/spec/domain/devices/interfaces/0/macAddress","value":"`+mac+`"}]`))))
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = w.ns, "shop-keys"
	w.patch(secret, `{"stringData":{"userdata":"ssh-ed25519 BBBB somebody else"}}`)

	w.replace("r", "point", "shop", v1alpha1.VolumesRetain, nil)
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	w.awaitRunning("shop")
	vm := w.vm("shop")
	require.Equal(t, before.UID, vm.UID)
	require.Equal(t, mac, vm.Spec.Template.Spec.Domain.Devices.Interfaces[0].MacAddress)
	require.Equal(t, "shop", vm.Labels["app"])
	require.Equal(t, "release", vm.Labels["app.kubernetes.io/instance"], "whoever manages the VM goes on doing so")
	require.NotContains(t, vm.Annotations, claimTemplates)
	require.Empty(t, vm.Spec.DataVolumeTemplates)
	require.Equal(t, kubevirt.RunStrategyAlways, *vm.Spec.RunStrategy)
	require.NotEmpty(t, vm.Spec.Template.Spec.Domain.Firmware.UUID)

	keys := vm.Spec.Template.Spec.AccessCredentials[0].SSHPublicKey.Source.Secret.SecretName
	require.NotEqual(t, "shop-keys", keys)
	restored := &corev1.Secret{}
	require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: keys}, restored))
	require.Equal(t, "ssh-ed25519 AAAA someone", string(restored.Data["userdata"]))
	require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "shop-keys"}, secret))
	require.Equal(t, "ssh-ed25519 BBBB somebody else", string(secret.Data["userdata"]), "nothing is overwritten")

	require.NotEqual(t, state, w.stateOf("shop"), "there is one claim with the label, the restored one")
	w.guest("quiet", "shop")
	w.sameGuest("shop", state, sums)

	// root came from a DataVolume and the state from KubeVirt: both owned by the
	// VM. They stay when it goes.
	require.Len(t, r.Status.Former, 3)
	w.mustRemove(w.vm("shop"))
	for _, f := range r.Status.Former {
		c := &corev1.PersistentVolumeClaim{}
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: f.Claim}, c))
		require.Empty(t, c.OwnerReferences)
		require.Nil(t, c.DeletionTimestamp)
	}
	w.nothingLeft()
}

// TestRestoreChosenDisks: a point of some disks makes a new VM without the
// others, and leaves those of a VM that it replaces as they are.
func TestRestoreChosenDisks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	w.staticClaim("shop-share", corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "192.0.2.1", Path: "/share"}})
	sums := w.stoppedVM("shop", 16*mib, 16*mib)
	w.editVM("shop", func(vm *kubevirt.VirtualMachine) {
		source := &kubevirt.PersistentVolumeClaimVolumeSource{}
		source.ClaimName = "shop-share"
		addVolume(vm, "share", kubevirt.VolumeSource{PersistentVolumeClaim: source})
		addVolume(vm, "host", kubevirt.VolumeSource{HostDisk: &kubevirt.HostDisk{Path: "/tmp/never", Type: kubevirt.HostDiskExists}})
	})
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, "point"
	b.Spec = v1alpha1.VMBackupSpec{VM: "shop", Target: w.Target, IncludeDisks: []string{"root"}}
	w.mustMake(b)
	w.awaitBackup("point", v1alpha1.BackupReady)

	w.restore("new", "point", "copy")
	w.awaitRestore("new", v1alpha1.RestoreReady)
	w.requireDisks("copy", map[string]string{"root": sums["root"]})
	require.Len(t, w.vm("copy").Spec.Template.Spec.Volumes, 1)
	require.Len(t, w.vm("copy").Spec.Template.Spec.Domain.Devices.Disks, 1)

	now := w.scrambledDisks("shop", 3, "root", "data1")
	w.replace("r", "point", "shop", v1alpha1.VolumesDelete, nil)
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	claims := w.claimsOf("shop")
	require.Equal(t, sums["root"], w.sha256(claims["root"]))
	require.Equal(t, "shop-data1", claims["data1"])
	require.Equal(t, now["data1"], w.sha256("shop-data1"), "it stays as it was")
	require.Equal(t, "shop-share", claims["share"])
	require.Len(t, w.vm("shop").Spec.Template.Spec.Volumes, 4)
	require.Len(t, r.Status.Former, 1)
	w.awaitFormerGone(r)
	notes := strings.Join(r.Status.Notes, "\n")
	for _, said := range []string{"disk data1 is not in the backup: it stays as it is, on claim shop-data1", "disk host is not in the backup: it stays as it is"} {
		require.Contains(t, notes, said)
	}
	w.nothingLeft()
}
