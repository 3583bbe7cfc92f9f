package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// TestKilledBackupsLeaveNoBlock: six backups of a VM. In two of them all agents
// are killed and started again, in one the engine is, in each of three attempts,
// and in two the replica that moves the data; one is cancelled, and all agents
// are killed. Five points end Ready and one Failed. When all are deleted the
// target is empty.
func TestKilledBackupsLeaveNoBlock(t *testing.T) {
	t.Parallel()
	w := deletionWorld(t)
	w.runningVM("vm", 96*mib)
	sums := map[string]string{}
	begin := func(k int) *v1alpha1.VMBackup {
		name := fmt.Sprintf("point-%d", k)
		w.awaitRunning("vm")
		w.guest("quiet", "vm") // a VM whose engine died was started again, and writes
		sums[name] = w.rewritten("vm", "root", 0, 64*mib, k)
		return w.backup(name, "vm")
	}
	ready := func(b *v1alpha1.VMBackup, attempt int) {
		b = w.awaitBackup(b.Name, v1alpha1.BackupReady)
		require.EqualValues(t, attempt, b.Status.Disks[0].Attempt)
		documents, backups := w.documentAndBackups(b)
		require.Len(t, documents, 1)
		require.Len(t, backups, 1, "what an attempt left goes when the next one has made it")
	}

	for _, k := range []int{1, 2} {
		b := begin(k)
		w.awaitMoving(b, 1)
		w.killAgents()
		ready(b, 1)
	}

	b := begin(3)
	for attempt := 1; attempt <= 3; attempt++ {
		w.awaitMoving(b, attempt)
		require.NoError(t, syscall.Kill(w.enginePID("vm-root"), syscall.SIGKILL))
	}
	// A VM whose engine died is started anew, so that these are no failed
	// attempts: the VM had left.
	ready(b, 4)

	// The first of them leaves the volume with one replica, so the second one
	// takes the engine down too.
	for _, k := range []int{4, 5} {
		b := begin(k)
		job := w.awaitMoving(b, 1)
		w.killReplica("vm-root", job.Status.Transfer.Replica)
		ready(b, 2)
	}

	b = begin(6)
	w.awaitMoving(b, 1)
	w.patch(b, `{"spec":{"cancel":true}}`)
	w.killAgents()
	w.eventually("point-6 to have failed and to be cleaned up", func() (bool, string) {
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKeyFromObject(b), b))
		return b.Status.Phase == v1alpha1.BackupFailed && len(b.Finalizers) == 0, words(b.Status)
	})
	reason, _ := readyWords(t, b)
	require.Equal(t, "Cancelled", reason)
	require.Empty(t, w.filesOf(b), "nothing but blocks that others share is left of it")

	w.restore("r", "point-5", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), map[string]string{"root": sums["point-5"]})
	w.nothingLeft()

	w.ageLocks()
	all := []string{"point-1", "point-2", "point-3", "point-4", "point-5", "point-6"}
	w.deletePoints(all...)
	w.awaitGone(all...)
	w.requireEmptyTarget(".lck") // backupstore ignores a dead process's lock when its time is over, and lets it lie
	w.nothingLeft()
}

// TestDeletion deletes points in the situations in which that is not just
// removing what is there.
func TestDeletion(t *testing.T) {
	t.Parallel()
	w := deletionWorld(t)
	w.runningVM("vm", 32*mib)
	w.quietHashes("vm", "root")
	t.Run("first, middle, last of a chain", func(t *testing.T) { deleteFirstMiddleLast(w.as(t)) })
	t.Run("while a restore reads it", func(t *testing.T) { deleteWhileRestoring(w.as(t)) })
	t.Run("while its transfer runs", func(t *testing.T) { deleteRunning(w.as(t)) })
	t.Run("while another backup of its volume runs, and before one", func(t *testing.T) { deleteInTurn(w.as(t)) })
	t.Run("Retain", func(t *testing.T) { retain(w.as(t)) })
	t.Run("with a dead target", func(t *testing.T) { deleteWithDeadTarget(w.as(t)) })
	t.Run("on several targets", func(t *testing.T) { severalTargets(w.as(t)) })
}

// deleteFirstMiddleLast: every backup holds the full list of its blocks, so no
// point needs another.
func deleteFirstMiddleLast(w *world) {
	sums := map[string]string{}
	for k, name := range []string{"first", "middle", "last"} {
		sums[name] = w.rewritten("vm", "root", int64(k)*4*mib, 4*mib, 10+k)
		w.backup(name, "vm")
		w.awaitBackup(name, v1alpha1.BackupReady)
	}
	blocks := w.blocks()
	w.deletePoints("first")
	w.awaitGone("first")
	fewer := w.blocks()
	require.Less(w.t, fewer, blocks, "the first point's own blocks are freed")
	w.restore("r-middle", "middle", "copy-middle")
	w.sameDisks(w.awaitRestore("r-middle", v1alpha1.RestoreReady), map[string]string{"root": sums["middle"]})

	w.deletePoints("middle")
	w.awaitGone("middle")
	require.Less(w.t, w.blocks(), fewer, "the middle point's own blocks are freed")
	w.restore("r-last", "last", "copy-last")
	w.sameDisks(w.awaitRestore("r-last", v1alpha1.RestoreReady), map[string]string{"root": sums["last"]})

	w.deletePoints("last")
	w.awaitGone("last")
	w.nothingLeft()
	w.requireEmptyTarget()
	require.Empty(w.t, w.ourSnapshots("vm-root"))
}

// deleteWhileRestoring: a replica of the new volume is frozen, so that the
// restore lasts until the deletion was seen to wait.
func deleteWhileRestoring(w *world) {
	sums := map[string]string{"root": w.rewritten("vm", "root", 0, 4*mib, 20)}
	w.backup("read", "vm")
	w.awaitBackup("read", v1alpha1.BackupReady)
	r := w.restore("reader", "read", "copy-read")
	job := w.awaitJob("restore", func(j v1alpha1.NodeJob) bool { return j.Spec.Owner.UID == r.UID })
	volume := job.Spec.Restore.Volume
	var frozen []harness.Process
	w.eventually("the new volume's replicas to run", func() (bool, string) {
		frozen = w.ProcessesOf(w.t, "replica", "volume="+volume)
		return len(frozen) > 0, "none"
	})
	require.NoError(w.t, syscall.Kill(frozen[0].PID, syscall.SIGSTOP))

	w.deletePoints("read")
	w.awaitDeletionWaits("read", "read by VMRestore reader")
	var s v1alpha1.VMRestore
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKeyFromObject(r), &s))
	require.NotEqual(w.t, v1alpha1.RestoreReady, s.Status.Phase, "the restore still runs")
	require.NoError(w.t, syscall.Kill(frozen[0].PID, syscall.SIGCONT))

	w.sameDisks(w.awaitRestore("reader", v1alpha1.RestoreReady), sums)
	w.awaitGone("read")
	w.nothingLeft()
	w.requireEmptyTarget()
}

// deleteRunning: a transfer cannot be stopped, so the deletion waits for its end
// and then removes what it has written.
func deleteRunning(w *world) {
	w.runningVM("big", 128*mib)
	w.quietHashes("big", "root")
	b := w.backup("running", "big")
	w.awaitMoving(b, 1)
	w.deletePoints("running")
	w.awaitDeletionWaits("running", "jobs that run to end")
	w.awaitGone("running")
	w.nothingLeft()
	w.requireEmptyTarget()
	require.Empty(w.t, w.ourSnapshots("big-root"))
}

// deleteInTurn: on one volume of a target, transfers and deletions exclude each
// other. Whoever comes second waits and says so.
func deleteInTurn(w *world) {
	g := w.kitGate()
	sums := map[string]string{}
	for k, name := range []string{"older", "old"} {
		sums[name] = w.rewritten("vm", "root", int64(k)*4*mib, 4*mib, 30+k)
		w.backupTo(g.target, name, "vm")
		w.awaitBackup(name, v1alpha1.BackupReady)
	}

	sums["moving"] = w.rewritten("vm", "root", 8*mib, 8*mib, 32)
	release := g.holdWrites(1)
	w.backupTo(g.target, "moving", "vm")
	w.eventually("the transfer to be held", func() (bool, string) { return g.stops(".blk") > 0, "no request came" })
	w.deletePoints("older")
	w.awaitDeletionWaits("older", "is locked")
	release()
	w.awaitBackup("moving", v1alpha1.BackupReady)
	w.awaitGone("older")

	sums["last"] = w.rewritten("vm", "root", 16*mib, 4*mib, 33)
	held := g.stops(".blk")
	release = g.holdDeletes()
	w.deletePoints("old")
	w.eventually("the deletion to be held", func() (bool, string) { return g.stops(".blk") > held, "no request came" })
	b := w.backupTo(g.target, "last", "vm")
	w.awaitJob("backup", func(j v1alpha1.NodeJob) bool {
		return j.Spec.Owner.UID == b.UID && strings.Contains(j.Status.Message, "holds the lock")
	})
	w.eventually("the point to say so", func() (bool, string) {
		said := conditionText(w.pointNow("last").Status.Conditions, v1alpha1.ConditionProgressing)
		return strings.Contains(said, "holds the lock"), said
	})
	release()
	w.awaitGone("old")
	w.awaitBackup("last", v1alpha1.BackupReady)

	for _, name := range []string{"moving", "last"} {
		w.restore("turn-"+name, name, "turn-of-"+name)
		w.sameDisks(w.awaitRestore("turn-"+name, v1alpha1.RestoreReady), map[string]string{"root": sums[name]})
	}
	w.deletePoints("moving", "last")
	w.awaitGone("moving", "last")
	w.nothingLeft()
	w.requireEmptyTarget()
}

// retain: the object goes, the document, the data and the engine's freedom stay.
func retain(w *world) {
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, "kept"
	b.Spec.VM, b.Spec.Target, b.Spec.DeletionPolicy = "vm", w.Target, v1alpha1.DeletionRetain
	require.NoError(w.t, w.c.Create(w.ctx, b))
	b = w.awaitBackup("kept", v1alpha1.BackupReady)
	before := w.onTarget()
	w.deletePoints("kept")
	w.awaitGone("kept")
	w.nothingLeft()
	require.Equal(w.t, before, w.onTarget(), "not a file was touched")
	documents, backups := w.documentAndBackups(b)
	require.Equal(w.t, []string{b.Status.Document}, documents)
	require.Len(w.t, backups, 1)
	require.Positive(w.t, w.blocks())
	require.Empty(w.t, w.ourSnapshots("vm-root"), "the engine keeps no snapshot for a point that nobody knows")
}

// deletionWorld has agents that give up an engine only because it was started
// elsewhere, and coordinators that soon try again.
func deletionWorld(t testing.TB) *world {
	t.Helper()
	w := bare(t, newStack(t))
	w.startAgents()
	w.startCoordinators()
	return w
}

// startCoordinators starts two that are soon tired of waiting for a target. Their
// names are new, so that a Lease of killed ones is not taken for theirs.
func (w *world) startCoordinators() {
	w.t.Helper()
	for range 2 {
		identity := fmt.Sprintf("coordinator-%d", coordinatorNumber.Add(1))
		w.startCoordinator(identity, harness.ProgramOptions{Args: append([]string{"--delete-patience", "15s"}, quickSweeps...)})
	}
}

var coordinatorNumber atomic.Int32

func (w *world) startAgents() {
	w.t.Helper()
	for _, n := range w.Nodes {
		w.startAgent(n.Name, harness.ProgramOptions{Args: []string{"--lost-limit", kitLostLimit.String()}})
	}
}

// awaitDeletionWaits waits until a point that is being deleted says what for.
func (w *world) awaitDeletionWaits(point, says string) {
	w.t.Helper()
	w.eventually("the deletion to wait for: "+says, func() (bool, string) {
		var b v1alpha1.VMBackup
		if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: point}, &b); err != nil {
			return false, err.Error()
		}
		why := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionProgressing)
		return b.Status.Phase == v1alpha1.BackupDeleting && why != nil && strings.Contains(why.Message, says), words(b.Status)
	})
}

// killAgents kills all agents and starts them again.
func (w *world) killAgents() {
	w.t.Helper()
	for _, a := range w.agents {
		a.Kill(w.t)
	}
	w.startAgents()
}

// awaitMoving waits until an attempt's transfer is in progress on the target.
func (w *world) awaitMoving(b *v1alpha1.VMBackup, attempt int) v1alpha1.NodeJob {
	w.t.Helper()
	backup := names.Backup(b.UID, "root", int32(attempt))
	w.eventually("backup "+backup+" to be in progress", func() (bool, string) {
		for _, f := range w.onTarget() {
			if strings.HasSuffix(f, "/backups/backup_"+backup+".cfg") {
				return w.inProgress(f), "it was too fast to be disturbed"
			}
		}
		return false, "it has not begun"
	})
	return w.awaitJob("backup", func(j v1alpha1.NodeJob) bool {
		return j.Name == names.Job("backup", b.UID, "root", int32(attempt)) && j.Status.Transfer != nil && j.Status.Transfer.Replica != ""
	})
}

// killReplica kills the replica of the VM's disk that listens at an address.
func (w *world) killReplica(claim, address string) {
	w.t.Helper()
	for _, p := range w.ProcessesOf(w.t, "replica", "volume="+w.volumeOf(claim)) {
		arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
		if err == nil && bytes.Contains(arguments, []byte("--listen\x00"+address+"\x00")) {
			require.NoError(w.t, syscall.Kill(p.PID, syscall.SIGKILL))
			return
		}
	}
	require.Failf(w.t, "no such replica", "none of claim %s listens at %s", claim, address)
}
