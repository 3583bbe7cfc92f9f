package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestCloneFaults kills what clones a snapshot into a new VM's volume. No VM may
// get a volume that does not hold just that snapshot.
func TestCloneFaults(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	t.Run("agent killed in the middle, another one adopts the clone", func(t *testing.T) { agentKilledInClone(t, s) })
	t.Run("engine of the source killed in the middle", func(t *testing.T) { sourceKilledInClone(t, s) })
	t.Run("engine of the clone killed in the middle", func(t *testing.T) { targetKilledInClone(t, s) })
	t.Run("snapshot removed from the source in the middle", func(t *testing.T) { snapshotRemovedInClone(t, s) })
}

// midClone begins to restore a Snapshot point of a VM with one disk, and stops it
// in the middle: the sync agent of the source's replica sleeps. It returns the
// job, and what wakes it.
func (w *world) midClone(vm string) (v1alpha1.NodeJob, func()) {
	w.t.Helper()
	w.snapshot("point", vm)
	w.awaitBackup("point", v1alpha1.BackupReady)
	w.restore("r", "point", "copy")
	job := w.awaitJob("clone", func(j v1alpha1.NodeJob) bool { return j.Status.Transfer != nil && j.Status.Transfer.Replica != "" })
	sender := w.childPID(w.replicaPID(job.Spec.Clone.SourceVolume, job.Status.Transfer.Replica))
	require.NoError(w.t, syscall.Kill(sender, syscall.SIGSTOP))
	replicas, err := w.engineOfVolume(job.Spec.Clone.Volume).CloneStatus(w.ctx)
	require.NoError(w.t, err)
	for _, r := range replicas {
		require.Equal(w.t, engine.StateInProgress, r.State, "it was too fast to be disturbed")
	}
	return job, func() { _ = syscall.Kill(sender, syscall.SIGCONT) } // or it was killed meanwhile
}

func agentKilledInClone(t *testing.T, s *harness.Stack) {
	w := snapshotWorld(t, s)
	sums := w.stoppedVM("vm", 384*mib)
	job, wake := w.midClone("vm")
	w.agents[job.Spec.NodeName].Kill(t)
	w.awaitJob("clone", func(j v1alpha1.NodeJob) bool { return j.Status.Session != job.Status.Session })
	wake()
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	require.EqualValues(t, 1, r.Status.Disks[0].Attempt, "the clone that ran was adopted")
	w.sameDisks(r, sums)
	w.awaitDetached("vm-root")
	w.nothingLeft()
}

func sourceKilledInClone(t *testing.T, s *harness.Stack) {
	w := snapshotWorld(t, s)
	sums := w.stoppedVM("vm", 384*mib)
	_, wake := w.midClone("vm")
	require.NoError(t, syscall.Kill(w.enginePID("vm-root"), syscall.SIGKILL))
	wake()
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	require.NotEmpty(t, r.Status.Disks[0].Record.SnapshotCreated)
	w.requireOneVolume(r)
	w.sameDisks(r, sums)
	require.Equal(t, sums["root"], w.sha256("vm-root"), "the source is what it was")
	w.awaitDetached("vm-root")
	w.nothingLeft()
}

func targetKilledInClone(t *testing.T, s *harness.Stack) {
	w := snapshotWorld(t, s)
	sums := w.stoppedVM("vm", 384*mib)
	job, wake := w.midClone("vm")
	found := w.ProcessesOf(t, "engine", "volume="+job.Spec.Clone.Volume)
	require.Len(t, found, 1)
	require.NoError(t, syscall.Kill(found[0].PID, syscall.SIGKILL))
	wake()
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	require.Greater(t, r.Status.Disks[0].Attempt, int32(1), "what an engine held that was killed is not trusted")
	w.requireOneVolume(r)
	w.sameDisks(r, sums)
	w.awaitDetached("vm-root")
	w.nothingLeft()
}

// snapshotRemovedInClone: what was copied when the snapshot was folded away is a
// mixture, of which no replica knows.
func snapshotRemovedInClone(t *testing.T, s *harness.Stack) {
	w := snapshotWorld(t, s)
	w.stoppedVM("vm", 384*mib)
	seen := w.watchRestores()
	job, wake := w.midClone("vm")
	e := w.engineOf("vm-root")
	removed := make(chan error, 1)
	go func() { removed <- e.RemoveSnapshot(w.ctx, job.Spec.Clone.Snapshot) }() // its last step waits for the sleeper
	w.eventually("the snapshot to be marked as removed", func() (bool, string) {
		all, err := e.Snapshots(w.ctx)
		return err == nil && all[job.Spec.Clone.Snapshot].Removed, fmt.Sprint(err)
	})
	wake()
	require.NoError(t, <-removed)
	r := w.awaitRestore("r", v1alpha1.RestoreFailed)
	reason, message := readyWords(t, r)
	t.Logf("%s: %s", reason, message)
	require.Equal(t, v1alpha1.ReasonSnapshotMissing, reason)
	w.nothingOf(r, "copy")
	for _, volume := range seen.volumesOf(r.UID) {
		require.False(t, seen.handle(volume), "volume %s of a failed clone was given away", volume)
	}
	w.deletePoint("point")
	w.awaitDetached("vm-root")
	w.nothingLeft()
}

// requireOneVolume: the volumes of attempts that failed are gone.
func (w *world) requireOneVolume(r *v1alpha1.VMRestore) {
	w.t.Helper()
	require.Len(w.t, w.volumesOfRestore(r), len(r.Status.Disks))
}

// TestCoordinatorKilledAtEachStepOfASnapshot is TestCoordinatorKilledAtEachStep
// for points of type Snapshot.
func TestCoordinatorKilledAtEachStepOfASnapshot(t *testing.T) {
	t.Parallel()
	w := newStepWalk(t)
	w.runningVM("vm", 16*mib)
	w.quietHashes("vm", "root")
	sums := map[string]string{} // point -> hash of the disk when it was cut
	var points []string
	point := func(name string, k int) {
		sums[name] = w.rewritten("vm", "root", int64(k%3)*2*mib, mib, k)
		w.snapshot(name, "vm")
	}

	w.walk(steps{
		what: "snapshot",
		begin: func(k int) {
			points = append(points, fmt.Sprintf("point-%d", k))
			w.cuts = len(points)
			point(points[k-1], k)
		},
		done: func(k int) (bool, string) { return w.backupReady(points[k-1]) },
		check: func(k int) {
			w.requireKept(w.awaitBackup(points[k-1], v1alpha1.BackupReady))
			require.Len(t, w.ourSnapshots("vm-root"), len(points))
		},
	})

	copyOf := func(k int) (restore, point string) { return fmt.Sprintf("restore-%d", k), points[k%len(points)] }
	w.walk(steps{
		what:   "clone",
		beside: pointSeen,
		begin: func(k int) {
			restore, point := copyOf(k)
			w.restore(restore, point, fmt.Sprintf("copy-%d", k))
		},
		done: func(k int) (bool, string) { name, _ := copyOf(k); return w.restoreReady(name) },
		check: func(k int) {
			restore, point := copyOf(k)
			r := w.awaitRestore(restore, v1alpha1.RestoreReady)
			w.requireMadeOnce(r)
			w.sameDisks(r, map[string]string{"root": sums[point]})
		},
	})

	victim := func(k int) string { return fmt.Sprintf("victim-%d", k) }
	w.walk(steps{
		what: "deletion of a snapshot",
		prepare: func(k int) {
			w.cuts = len(points) + 1
			point(victim(k), k)
			w.awaitBackup(victim(k), v1alpha1.BackupReady)
		},
		begin: func(k int) {
			w.cuts = len(points)
			w.deletePoints(victim(k))
		},
		done: func(k int) (bool, string) { return w.pointGone(victim(k)) },
	})

	w.disarm()
	w.deletePoints(points...)
	w.awaitGone(points...)
	w.nothingLeft()
	require.Empty(t, w.ourSnapshots("vm-root"))
	require.NotContains(t, w.victim().Log(t), "DATA RACE")
}
