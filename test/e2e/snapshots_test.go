package e2e

import (
	"fmt"
	"strings"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestSnapshots: points of type Snapshot, taken, restored and deleted as their
// users do it.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	t.Run("case 1, of a stopped VM: it becomes ready and its volumes are detached afterwards; case 2, restored from detached volumes to a new VM", func(t *testing.T) {
		snapshotOfStopped(snapshotWorld(t, s))
	})
	t.Run("of a running VM with several disks, restored while it runs on", func(t *testing.T) { snapshotOfRunning(snapshotWorld(t, s)) })
	t.Run("chain: each restores its own content; first, middle, last deleted", func(t *testing.T) { snapshotChain(snapshotWorld(t, s)) })
	t.Run("beside backups of the same VM", func(t *testing.T) { snapshotsBesideBackups(snapshotWorld(t, s)) })
	t.Run("of a disk over a backing image", func(t *testing.T) { snapshotOverImage(snapshotWorld(t, s)) })
	t.Run("refused at Longhorn's limit", func(t *testing.T) { snapshotLimit(snapshotWorld(t, s)) })
}

func snapshotOfStopped(w *world) {
	sums := w.stoppedVM("vm", 32*mib, 24*mib)
	w.snapshot("point", "vm")
	b := w.awaitBackup("point", v1alpha1.BackupReady)
	w.requireKept(b)
	w.awaitDetached("vm-root", "vm-data1")
	w.nothingLeft()

	w.disk("fill", "vm-root", "--seed", "77", "--length", fmt.Sprint(8*mib))
	require.NotEqual(w.t, sums["root"], w.sha256("vm-root"))
	w.awaitDetached("vm-root", "vm-data1")
	w.restore("r", "point", "copy")
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	w.requireMadeOnce(r)
	for _, d := range r.Status.Disks {
		require.Equal(w.t, d.Snapshot, d.Record.Snapshot)
		require.Empty(w.t, d.Record.Backup)
		require.Len(w.t, d.Record.Replicas, 2)
		w.awaitDetached(d.Claim)
	}
	w.sameDisks(r, sums)
	w.awaitDetached("vm-root", "vm-data1")
	w.nothingLeft()

	w.deletePoint("point")
	w.eventually("its Secret to be gone", func() (bool, string) {
		_, err := w.pointSecret(b)
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	w.awaitDetached("vm-root", "vm-data1")
	require.Empty(w.t, w.snapshotsAtRest("vm-root"), "removed from a stopped VM's volume too")
	w.sameDisks(r, sums)
	w.nothingLeft()
}

func snapshotOfRunning(w *world) {
	w.runningVM("vm", 48*mib, 32*mib, 16*mib)
	sums := w.quietHashes("vm", "root", "data1", "data2")
	w.snapshot("point", "vm")
	b := w.awaitBackup("point", v1alpha1.BackupReady)
	w.requireKept(b)
	require.NotNil(w.t, b.Status.CutWindowMilliseconds)
	w.guest("resume", "vm")
	w.guest("fill", "vm", "--disk", "data1", "--offset", "0", "--length", fmt.Sprint(8*mib), "--seed", "9")
	w.restore("r", "point", "copy")
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	w.sameDisks(r, sums)
	w.awaitRunning("vm")
	w.nothingLeft()

	for _, d := range b.Status.Disks {
		w.eventually("Longhorn to show "+d.Snapshot, func() (bool, string) {
			err := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: d.Snapshot}, &longhorn.Snapshot{})
			return err == nil, fmt.Sprint(err)
		})
	}
	require.Equal(w.t, v1alpha1.BackupReady, w.pointNow("point").Status.Phase)
	w.deletePoint("point")
	for _, claim := range []string{"vm-root", "vm-data1", "vm-data2"} {
		require.Empty(w.t, w.ourSnapshots(claim))
	}
	w.nothingLeft()
}

func snapshotChain(w *world) {
	w.runningVM("vm", 32*mib)
	w.quietHashes("vm", "root")
	sums := map[string]map[string]string{}
	for k, name := range []string{"first", "middle", "last"} {
		sums[name] = map[string]string{"root": w.rewritten("vm", "root", int64(k)*3*mib, 6*mib, 30+k)}
		w.snapshot(name, "vm")
		w.awaitBackup(name, v1alpha1.BackupReady)
	}
	w.rewritten("vm", "root", 0, 12*mib, 40)
	require.Len(w.t, w.ourSnapshots("vm-root"), 3, "none replaces another")
	restored := func(name, suffix string) {
		w.restore("r-"+name+suffix, name, "copy-"+name+suffix)
		w.sameDisks(w.awaitRestore("r-"+name+suffix, v1alpha1.RestoreReady), sums[name])
	}
	for _, name := range []string{"first", "middle", "last"} {
		restored(name, "")
	}
	w.deletePoint("middle")
	restored("first", "-2")
	restored("last", "-2")
	w.deletePoint("first")
	restored("last", "-3")
	w.deletePoint("last")
	require.Empty(w.t, w.ourSnapshots("vm-root"))
	w.nothingLeft()
}

// snapshotsBesideBackups: neither kind removes what the other needs.
func snapshotsBesideBackups(w *world) {
	w.runningVM("vm", 32*mib)
	w.quietHashes("vm", "root")
	sums := map[string]map[string]string{}
	take := func(name string, k int, make func(name, vm string) *v1alpha1.VMBackup) *v1alpha1.VMBackup {
		sums[name] = map[string]string{"root": w.rewritten("vm", "root", int64(k)*2*mib, 4*mib, 50+k)}
		make(name, "vm")
		return w.awaitBackup(name, v1alpha1.BackupReady)
	}
	take("backup-1", 1, w.backup)
	kept := take("snapshot-1", 2, w.snapshot)
	second := take("backup-2", 3, w.backup)
	require.True(w.t, second.Status.Disks[0].Incremental, "the base stayed")
	newest := take("snapshot-2", 4, w.snapshot)
	third := take("backup-3", 5, w.backup)
	require.True(w.t, third.Status.Disks[0].Incremental)
	ours := w.ourSnapshots("vm-root")
	for _, b := range []*v1alpha1.VMBackup{kept, newest, third} {
		require.Contains(w.t, ours, b.Status.Disks[0].Snapshot)
	}
	w.deletePoint("snapshot-2")
	require.True(w.t, take("backup-4", 6, w.backup).Status.Disks[0].Incremental, "deleting a snapshot took no base along")
	w.deletePoint("backup-1")
	w.deletePoint("backup-3")
	for _, name := range []string{"snapshot-1", "backup-2", "backup-4"} {
		w.restore("r-"+name, name, "copy-"+name)
		w.sameDisks(w.awaitRestore("r-"+name, v1alpha1.RestoreReady), sums[name])
	}
	w.nothingLeft()
}

func snapshotOverImage(w *world) {
	const image = "debian-snap"
	_, file := qcow2(w.t, 3)
	checksum := w.image(image, file)
	w.imageClass(image)
	w.classClaim("vm-root", image, 32*mib)
	w.disk("fill", "vm-root", "--seed", "5", "--offset", fmt.Sprint(8*mib), "--length", fmt.Sprint(4*mib))
	sum := w.sha256("vm-root")
	require.NoError(w.t, w.c.Create(w.ctx, w.vmSpec("vm", []string{"vm-root"}, func(vm *kubevirt.VirtualMachine) {
		halted := kubevirt.RunStrategyHalted
		vm.Spec.RunStrategy = &halted
	})))
	w.snapshot("point", "vm")
	b := w.awaitBackup("point", v1alpha1.BackupReady)
	require.Equal(w.t, &v1alpha1.BackingImage{Name: image, Checksum: checksum}, b.Status.Disks[0].BackingImage)
	w.restore("r", "point", "copy")
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	w.overImage(r, image)
	w.sameDisks(r, map[string]string{"root": sum})
	w.nothingLeft()
}

// snapshotLimit: a volume that has as many snapshots as Longhorn allows is told
// before any disk of the VM is cut.
func snapshotLimit(w *world) {
	w.runningVM("vm", 16*mib, 16*mib)
	w.guest("quiet", "vm")
	e := w.engineOf("vm-data1")
	usage, err := e.SnapshotUsage(w.ctx)
	require.NoError(w.t, err)
	for k := range usage.Room() {
		require.NoError(w.t, e.CutSnapshot(w.ctx, fmt.Sprintf("foreign-%d", k), nil))
	}
	w.snapshot("point", "vm")
	b := w.awaitBackup("point", v1alpha1.BackupFailed)
	reason, message := readyWords(w.t, b)
	require.Equal(w.t, v1alpha1.ReasonSnapshotLimit, reason)
	require.Contains(w.t, message, "of disk data1 has no room for another snapshot")
	require.Empty(w.t, w.ourSnapshots("vm-root"), "no disk was cut")
	w.nothingLeft()
}

// TestSnapshotsThatGo: what becomes of Snapshot points when what they need goes.
func TestSnapshotsThatGo(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	t.Run("an engine snapshot is removed behind our back", func(t *testing.T) { snapshotLost(snapshotWorld(t, s)) })
	t.Run("a volume is deleted", func(t *testing.T) { snapshotVolumeLost(snapshotWorld(t, s)) })
	t.Run("the VM is deleted, its claims stay", func(t *testing.T) { snapshotVMDeleted(snapshotWorld(t, s), false) })
	t.Run("the VM is deleted with its claims", func(t *testing.T) { snapshotVMDeleted(snapshotWorld(t, s), true) })
	t.Run("the VM is made again under its name", func(t *testing.T) { snapshotVMReplaced(snapshotWorld(t, s)) })
}

func snapshotLost(w *world) {
	w.runningVM("vm", 24*mib, 16*mib)
	sums := w.quietHashes("vm", "root", "data1")
	w.snapshot("lost", "vm")
	w.snapshot("stays", "vm")
	b := w.awaitBackup("lost", v1alpha1.BackupReady)
	w.awaitBackup("stays", v1alpha1.BackupReady)
	w.eventually("Longhorn to show what was cut", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: b.Status.Disks[1].Snapshot}, &longhorn.Snapshot{})
		return err == nil, fmt.Sprint(err)
	})
	e := w.engineOf("vm-data1")
	require.NoError(w.t, e.RemoveSnapshot(w.ctx, b.Status.Disks[1].Snapshot))
	require.NoError(w.t, e.Purge(w.ctx))
	b = w.awaitLost("lost")
	reason, message := readyWords(w.t, b)
	require.Equal(w.t, "DataLost", reason)
	require.Contains(w.t, message, "disk data1: engine snapshot "+b.Status.Disks[1].Snapshot)
	require.NotContains(w.t, message, "disk root")
	w.eventually("an event to tell", func() (bool, string) {
		var events corev1.EventList
		require.NoError(w.t, w.c.List(w.ctx, &events, client.InNamespace(w.ns)))
		for _, e := range events.Items {
			if e.Reason == "DataLost" && e.InvolvedObject.UID == b.UID {
				return true, ""
			}
		}
		return false, "none"
	})
	w.restore("r-lost", "lost", "copy-lost")
	_, message = readyWords(w.t, w.awaitRestore("r-lost", v1alpha1.RestoreFailed))
	require.Contains(w.t, message, "DataLost")
	w.restore("r", "stays", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	require.Equal(w.t, v1alpha1.BackupReady, w.pointNow("stays").Status.Phase)
	w.deletePoint("lost")
	require.Len(w.t, w.ourSnapshots("vm-root"), 1)
	w.nothingLeft()
}

func snapshotVolumeLost(w *world) {
	w.stoppedVM("vm", 16*mib, 16*mib)
	w.snapshot("point", "vm")
	w.awaitBackup("point", v1alpha1.BackupReady)
	v := &longhorn.Volume{}
	v.Namespace, v.Name = harness.LonghornNamespace, w.volumeOf("vm-data1")
	w.nothingLeft()
	require.NoError(w.t, w.c.Delete(w.ctx, v))
	_, message := readyWords(w.t, w.awaitLost("point"))
	require.Contains(w.t, message, "volume "+v.Name+" was deleted")
	w.deletePoint("point")
	require.Empty(w.t, w.snapshotsAtRest("vm-root"))
	w.nothingLeft()
}

func snapshotVMDeleted(w *world, claims bool) {
	w.stoppedVM("vm", 16*mib)
	w.snapshot("one", "vm")
	w.awaitBackup("one", v1alpha1.BackupReady)
	b := w.snapshot("two", "vm")
	w.awaitBackup("two", v1alpha1.BackupReady)
	w.backup("backup", "vm")
	w.awaitBackup("backup", v1alpha1.BackupReady)
	w.nothingLeft()
	if claims {
		w.removeVM("vm", "vm-root")
	} else {
		vm := &kubevirt.VirtualMachine{}
		vm.Namespace, vm.Name = w.ns, "vm"
		require.NoError(w.t, w.c.Delete(w.ctx, vm))
	}
	w.awaitGone("one", "two")
	_, err := w.pointSecret(b)
	require.True(w.t, apierrors.IsNotFound(err), "%v", err)
	require.Equal(w.t, v1alpha1.BackupReady, w.pointNow("backup").Status.Phase, "a backup does not go with its VM")
	if !claims {
		left := w.snapshotsAtRest("vm-root")
		require.Equal(w.t, []string{w.pointNow("backup").Status.Disks[0].Snapshot}, left, "the claims stay without the snapshots")
	}
	w.nothingLeft()
}

// snapshotVMReplaced: another VM of the same name is not the one that the point
// was taken of.
func snapshotVMReplaced(w *world) {
	w.stoppedVM("vm", 16*mib)
	w.snapshot("point", "vm")
	w.awaitBackup("point", v1alpha1.BackupReady)
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = w.ns, "vm"
	require.NoError(w.t, w.c.Delete(w.ctx, vm))
	w.gone(vm)
	require.NoError(w.t, w.c.Create(w.ctx, w.vmSpec("vm", []string{"vm-root"}, func(vm *kubevirt.VirtualMachine) {
		halted := kubevirt.RunStrategyHalted
		vm.Spec.RunStrategy = &halted
	})))
	w.awaitGone("point")
	require.Empty(w.t, strings.Join(w.snapshotsAtRest("vm-root"), ", "))
	w.nothingLeft()
}
