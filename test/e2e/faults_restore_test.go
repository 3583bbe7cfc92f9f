package e2e

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// TestRestoreFaults damages what is restored and kills what restores it.
// Longhorn calls a volume healthy whose restore failed or was lost: no VM may
// ever get one.
func TestRestoreFaults(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	t.Run("blocks missing or damaged on the target", func(t *testing.T) { damagedBlocks(t, s) })
	t.Run("engine killed in the middle", func(t *testing.T) { engineKilledInRestore(t, s, false) })
	t.Run("engine killed in the middle, and its agent frozen until another has the volume", func(t *testing.T) { engineKilledInRestore(t, s, true) })
	t.Run("one of two replicas killed in the middle", func(t *testing.T) { replicaKilledInRestore(t, s) })
}

// damagedBlocks restores two VMs at once, one whose backup misses a block and
// one of which a block holds other bytes.
func damagedBlocks(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	type harm struct{ do, undo func(file string) error }
	damage := map[string]harm{
		"missing": {
			do:   func(file string) error { return os.Rename(file, file+".away") },
			undo: func(file string) error { return os.Rename(file+".away", file) },
		},
		"damaged": {do: flipByte, undo: flipByte},
	}
	sums := map[string]map[string]string{}
	for vm := range damage {
		w.runningVM(vm, 24*mib)
		sums[vm] = w.quietHashes(vm, "root")
		w.backup(vm, vm)
	}
	points, files := map[string]*v1alpha1.VMBackup{}, map[string]string{}
	for vm, h := range damage {
		points[vm] = w.awaitBackup(vm, v1alpha1.BackupReady)
		files[vm] = w.volumeFiles(points[vm].Status.Disks[0].Volume, ".blk")[3]
		require.NoError(t, h.do(files[vm]))
	}

	seen := w.watchRestores()
	for vm := range damage {
		w.restore("bad-"+vm, vm, vm+"-copy")
	}
	for vm := range damage {
		r := w.awaitRestore("bad-"+vm, v1alpha1.RestoreFailed)
		disk := points[vm].Status.Disks[0]
		reason, message := readyWords(t, r)
		t.Logf("%s: %s: %s", vm, reason, message)
		require.Equal(t, v1alpha1.ReasonTargetError, reason)
		for _, part := range []string{"disk root", disk.Backup, "replica "} {
			require.Contains(t, message, part)
		}
		require.Regexp(t, `(?i)blk|block|checksum|decompress|lz4|NoSuchKey`, message, "the engine's own words")
		w.nothingOf(r, vm+"-copy")
		require.Equal(t, points[vm].Status, w.pointNow(vm).Status, "the point stays as it is")
	}
	w.nothingLeft()

	for vm, h := range damage {
		require.NoError(t, h.undo(files[vm]))
		w.restore("good-"+vm, vm, vm+"-copy")
	}
	for vm := range damage {
		r := w.awaitRestore("good-"+vm, v1alpha1.RestoreReady)
		require.EqualValues(t, 1, r.Status.Disks[0].Attempt)
		w.sameDisks(r, sums[vm])
		w.awaitSeen(seen, r.Status.Disks[0].Volume)
		var bad v1alpha1.VMRestore
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "bad-" + vm}, &bad))
		made := seen.volumesOf(bad.UID)
		require.NotEmpty(t, made, "volumes were made for the attempts")
		for _, volume := range made {
			require.False(t, seen.handle(volume), "volume %s of a failed restore was given away", volume)
		}
	}
	w.nothingLeft()
}

// flipByte changes one byte of a file in place; a second time undoes it.
func flipByte(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	raw[len(raw)/2] ^= 0xff
	return os.WriteFile(file, raw, 0o600)
}

// nothingOf makes sure that a failed restore has left no object at all.
func (w *world) nothingOf(r *v1alpha1.VMRestore, vm string) {
	w.t.Helper()
	w.eventually("nothing of restore "+r.Name+" to be left", func() (bool, string) {
		for _, list := range []client.ObjectList{
			&longhorn.VolumeList{}, &corev1.PersistentVolumeList{}, &corev1.PersistentVolumeClaimList{}, &corev1.SecretList{}, &kubevirt.VirtualMachineList{},
		} {
			if err := w.c.List(w.ctx, list, client.MatchingLabels{v1alpha1.LabelRestore: string(r.UID)}); err != nil {
				return false, err.Error()
			}
			for _, o := range objects(list) {
				return false, o.GetName()
			}
		}
		return true, ""
	})
	err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: vm}, &kubevirt.VirtualMachine{})
	require.True(w.t, client.IgnoreNotFound(err) == nil && err != nil, "VM %s: %v", vm, err)
}

// awaitSeen waits until the watch has come as far as the PersistentVolume of a
// volume, and so has shown all that were before it.
func (w *world) awaitSeen(seen *sightings, volume string) {
	w.t.Helper()
	w.eventually("the watch to show the PersistentVolume of "+volume, func() (bool, string) { return seen.handle(volume), "not yet" })
}

// midRestore begins the restore of a point and stops it after a few blocks. It
// returns the job and what lets the data flow again.
func (w *world) midRestore(g *gate, name, backup, vm string) (v1alpha1.NodeJob, func()) {
	w.t.Helper()
	release := g.holdReads(3)
	w.restore(name, backup, vm)
	job := w.awaitJob("restore", func(j v1alpha1.NodeJob) bool {
		return j.Status.State == v1alpha1.JobRunning && j.Status.Transfer != nil && j.Status.Transfer.Started
	})
	w.eventually("the restore to stand in the middle", func() (bool, string) { return g.stops(".blk") >= 2, "no read is held yet" })
	return job, release
}

// engineKilledInRestore: Longhorn attaches the volume again, healthy and empty.
// The agent finds out because its engine is gone; the next owner, who has never
// seen that engine, because the job says where it stood.
func engineKilledInRestore(t *testing.T, s *harness.Stack, fenced bool) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.runningVM("vm", 48*mib)
	sums := w.quietHashes("vm", "root")
	w.backupTo(g.target, "point", "vm")
	w.awaitBackup("point", v1alpha1.BackupReady)

	seen := w.watchRestores()
	job, release := w.midRestore(g, "r", "point", "copy")
	volume, sleeper := job.Spec.Restore.Volume, w.agents[job.Spec.NodeName]
	if fenced {
		sleeper.Freeze(t)
	}
	found := w.ProcessesOf(t, "engine", "volume="+volume)
	require.Len(t, found, 1)
	require.NoError(t, syscall.Kill(found[0].PID, syscall.SIGKILL))
	release()
	w.eventually("Longhorn to attach the volume again, healthy, without memory of a restore", func() (bool, string) {
		loc, err := w.locate(volume)
		if err != nil || loc.Address == job.Status.Transfer.EngineAddress {
			return false, fmt.Sprint(loc.Address, " ", err)
		}
		var vol longhorn.Volume
		if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: volume}, &vol); err != nil {
			return false, err.Error()
		}
		status, err := engine.Open(engine.Address{Volume: volume, Instance: loc.Engine, Addr: loc.Address}).RestoreStatus(w.ctx)
		if err != nil || vol.Status.Robustness != longhorn.VolumeRobustnessHealthy {
			return false, fmt.Sprint(vol.Status.Robustness, " ", err)
		}
		for _, rep := range status {
			if rep.Mode != engine.ModeRW || rep.State != "" || rep.LastRestored != "" || rep.Error != "" {
				return false, words(status)
			}
		}
		return len(status) == 2, words(status)
	})
	if fenced {
		w.awaitJob("restore", func(j v1alpha1.NodeJob) bool { return j.Status.Session != "" && j.Status.Session != job.Status.Session })
		sleeper.Continue(t)
	}

	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	w.secondVolume(r, seen)
	w.sameDisks(r, sums)
	w.nothingLeft()
}

func replicaKilledInRestore(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.runningVM("vm", 48*mib)
	sums := w.quietHashes("vm", "root")
	w.backupTo(g.target, "point", "vm")
	w.awaitBackup("point", v1alpha1.BackupReady)

	seen := w.watchRestores()
	job, release := w.midRestore(g, "r", "point", "copy")
	found := w.ProcessesOf(t, "replica", "volume="+job.Spec.Restore.Volume)
	require.Len(t, found, 2)
	require.NoError(t, syscall.Kill(found[1].PID, syscall.SIGKILL))
	release()

	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	w.secondVolume(r, seen)
	w.sameDisks(r, sums)
	w.nothingLeft()
}

// secondVolume proves that a restore took a fresh volume for its second
// attempt, recorded every replica of it, and gave nobody the first one.
func (w *world) secondVolume(r *v1alpha1.VMRestore, seen *sightings) {
	w.t.Helper()
	d := r.Status.Disks[0]
	require.EqualValues(w.t, 2, d.Attempt)
	require.Equal(w.t, names.Volume(r.UID, d.Name, 2), d.Volume)
	require.NotNil(w.t, d.Record)
	var replicas longhorn.ReplicaList
	require.NoError(w.t, w.c.List(w.ctx, &replicas, client.InNamespace(harness.LonghornNamespace), client.MatchingLabels{"longhornvolume": d.Volume}))
	var have, recorded []string
	for _, rep := range replicas.Items {
		have = append(have, rep.Name)
	}
	for _, rep := range d.Record.Replicas {
		recorded = append(recorded, rep.Name)
		require.Equal(w.t, d.Backup, rep.LastRestored)
	}
	require.Len(w.t, have, 2)
	require.ElementsMatch(w.t, have, recorded)

	w.awaitSeen(seen, d.Volume)
	first := names.Volume(r.UID, d.Name, 1)
	require.Contains(w.t, seen.volumesOf(r.UID), first, "there was a first volume")
	require.False(w.t, seen.handle(first), "volume %s of the failed attempt was given away", first)
	err := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: first}, &longhorn.Volume{})
	require.True(w.t, client.IgnoreNotFound(err) == nil && err != nil, "the first volume is gone: %v", err)
}
