package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// earlyBytes is an incremental that the engine calls complete before it is on
// the target: 17 blocks of 2 MiB; from 16 to 19 its percentage passes 100.
const earlyBytes = 34 * mib

// TestEngineFaults has the engine forget what it did, or say what is not true.
// The target decides what a point is.
func TestEngineFaults(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	t.Run("finished backup forgotten, agent frozen for less than its lease", func(t *testing.T) { forgottenBackup(t, s, false) })
	t.Run("finished backup forgotten, agent frozen until another has the volume", func(t *testing.T) { forgottenBackup(t, s, true) })
	t.Run("replica killed in the middle of its backup", func(t *testing.T) { replicaKilledInBackup(t, s) })
	t.Run("refused in the middle", func(t *testing.T) { refusedMidway(t, s) })
	t.Run("complete too early, or never", func(t *testing.T) { falseComplete(t, s) })
}

// forgottenBackup: the engine has finished a backup, and the sync agent that
// knew of it is killed before any agent has asked.
func forgottenBackup(t *testing.T, s *harness.Stack, fenced bool) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.runningVM("vm", 64*mib)
	sums := w.quietHashes("vm", "root")
	volume := w.volumeOf("vm-root")
	release := g.holdFinals()
	w.backupTo(g.target, "point", "vm")
	job := w.awaitJob("backup", func(j v1alpha1.NodeJob) bool { return j.Status.Transfer != nil && j.Status.Transfer.Replica != "" })
	w.eventually("the backup to be all but whole", func() (bool, string) { return g.stops("/backups/backup_") > 0, "not yet" })
	sleeper := w.agents[job.Spec.NodeName]
	sleeper.Freeze(t)
	release()
	w.awaitWhole(volume, job.Spec.Backup.Backup)
	require.NoError(t, syscall.Kill(w.childPID(w.replicaPID(volume, job.Status.Transfer.Replica)), syscall.SIGKILL))
	if fenced {
		w.awaitJob("backup", func(j v1alpha1.NodeJob) bool { return j.Status.Session != job.Status.Session })
	}
	sleeper.Continue(t)

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	require.EqualValues(t, 1, b.Status.Disks[0].Attempt, "the finished attempt was found on the target")
	all, again := g.blockWrites(volume)
	require.Zero(t, again, "blocks that were uploaded twice")
	require.Equal(t, len(w.volumeFiles(volume, ".blk")), all)
	require.Len(t, w.volumeFiles(volume, ".cfg"), 2, "the volume and one backup of it")
	require.Positive(t, *b.Status.Disks[0].UploadedBytes)
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()

	w.nothingAfterDeletion("point", volume)
}

// nothingAfterDeletion deletes the only point of a volume of which a process
// was killed.
func (w *world) nothingAfterDeletion(point, volume string) {
	w.t.Helper()
	// The killed process's lock would stand for 150 s, and the deletion wait.
	for _, lock := range w.volumeFiles(volume, ".lck") {
		require.NoError(w.t, os.Remove(lock))
	}
	w.deletePoint(point)
	require.Empty(w.t, w.volumeFiles(volume, ".blk"))
	require.Len(w.t, w.volumeFiles(volume, ".cfg"), 1, "of the volume, and none of a backup")
	w.nothingLeft()
}

// replicaKilledInBackup: what its process had uploaded is not a backup, and is
// not uploaded again by the next attempt, which another replica makes.
func replicaKilledInBackup(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.runningVM("vm", 48*mib)
	sums := w.quietHashes("vm", "root")
	volume := w.volumeOf("vm-root")
	const before, threads = 6, 2 // blocks on the target, and in flight
	release := g.holdWrites(before)
	w.backupTo(g.target, "point", "vm")
	job := w.awaitJob("backup", func(j v1alpha1.NodeJob) bool { return j.Status.Transfer != nil && j.Status.Transfer.Replica != "" })
	w.eventually("the backup to stand in the middle", func() (bool, string) { return g.stops(".blk") >= threads, "not yet" })
	require.NoError(t, syscall.Kill(w.replicaPID(volume, job.Status.Transfer.Replica), syscall.SIGKILL))
	release()

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	require.EqualValues(t, 2, b.Status.Disks[0].Attempt)
	require.Empty(t, w.backupConfig(volume, job.Spec.Backup.Backup), "nothing says that the first attempt is in progress")
	all, again := g.blockWrites(volume)
	require.Zero(t, again, "blocks that were uploaded twice")
	require.Equal(t, len(w.volumeFiles(volume, ".blk")), all)
	require.Greater(t, all, before+threads)
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
	w.nothingAfterDeletion("point", volume)
}

// refusedMidway has the target refuse the key that it took when the transfer
// began. So it is where Longhorn begins a backup of its own in the middle of ours,
// whose key the replica then uses for both. The disk gets another attempt.
func refusedMidway(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.runningVM("vm", 64*mib)
	sums := w.quietHashes("vm", "root")
	g.denyWrites(4)
	b := w.backupTo(g.target, "point", "vm")
	w.awaitJob("backup", func(j v1alpha1.NodeJob) bool {
		return j.Name == names.Job("backup", b.UID, "root", 1) && j.Status.State == v1alpha1.JobFailed && strings.Contains(j.Status.Message, "AccessDenied")
	})
	g.open()
	b = w.awaitBackup("point", v1alpha1.BackupReady)
	require.Greater(t, b.Status.Disks[0].Attempt, int32(1))
	_, again := g.blockWrites(b.Status.Disks[0].Volume)
	require.Zero(t, again, "blocks that were uploaded twice")
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
}

// falseComplete takes three points of a disk. The first is the base. Of the
// second and the third, 17 blocks each, the engine says that they are complete
// while nothing on the target is; the write that makes them whole comes late,
// is refused for a while, and is refused for good.
func falseComplete(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.runningVM("vm", 64*mib)
	w.quietHashes("vm")
	w.backupTo(g.target, "base", "vm")
	w.awaitBackup("base", v1alpha1.BackupReady)

	t.Run("whole late", func(t *testing.T) {
		w := w.in(t)
		sum := w.change(1)
		release := g.holdFinals()
		b := w.backupTo(g.target, "late", "vm")
		w.engineSaysComplete(names.Backup(b.UID, "root", 1))
		w.eventually("the target to be asked for what the engine promised", func() (bool, string) {
			now := w.pointNow("late")
			require.NotEqual(t, v1alpha1.BackupReady, now.Status.Phase)
			progressing := conditionText(now.Status.Conditions, v1alpha1.ConditionProgressing)
			return now.Status.Phase == v1alpha1.BackupVerifying && now.Status.Disks[0].State == v1alpha1.DiskTransferred, progressing
		})
		require.Zero(t, len(w.documents("late")), "no document before the disk is whole")
		release()
		b = w.awaitBackup("late", v1alpha1.BackupReady)
		require.EqualValues(t, 1, b.Status.Disks[0].Attempt)
		require.True(t, b.Status.Disks[0].Incremental)
		w.restore("r-late", "late", "copy-late")
		w.sameDisks(w.awaitRestore("r-late", v1alpha1.RestoreReady), sum)
	})

	t.Run("refused for a while", func(t *testing.T) {
		w := w.in(t)
		sum := w.change(2)
		g.refuseFinals()
		b := w.backupTo(g.target, "refused", "vm")
		w.engineSaysComplete(names.Backup(b.UID, "root", 1))
		w.eventually("a second attempt", func() (bool, string) {
			now := w.pointNow("refused")
			require.NotEqual(t, v1alpha1.BackupReady, now.Status.Phase)
			require.NotEqual(t, v1alpha1.BackupFailed, now.Status.Phase, words(now.Status))
			return len(now.Status.Disks) == 1 && now.Status.Disks[0].Attempt >= 2, words(now.Status.Conditions)
		})
		g.open()
		b = w.awaitBackup("refused", v1alpha1.BackupReady)
		require.Empty(t, w.backupConfig(b.Status.Disks[0].Volume, names.Backup(b.UID, "root", 1)), "nothing of the first attempt is left")
		w.restore("r-refused", "refused", "copy-refused")
		w.sameDisks(w.awaitRestore("r-refused", v1alpha1.RestoreReady), sum)
	})

	t.Run("refused for good", func(t *testing.T) {
		w := w.in(t)
		w.change(3)
		g.refuseFinals()
		b := w.backupTo(g.target, "never", "vm")
		w.engineSaysComplete(names.Backup(b.UID, "root", 1))
		b = w.awaitBackup("never", v1alpha1.BackupFailed)
		reason, message := readyWords(t, b)
		t.Logf("%s: %s", reason, message)
		require.Equal(t, "InProgress", reason)
		require.Contains(t, message, "disk root")
		require.Contains(t, message, "is not complete on the target")
		require.Contains(t, message, "attempt 3 of 3")
		require.Empty(t, w.documents("never"))
		g.open()
		for attempt := range int32(3) {
			require.Empty(t, w.backupConfig(b.Status.Disks[0].Volume, names.Backup(b.UID, "root", attempt+1)))
		}
	})

	w.nothingLeft()
	for _, name := range []string{"base", "late", "refused", "never"} {
		w.deletePoint(name)
	}
	require.Zero(t, len(w.volumeFiles(w.volumeOf("vm-root"), ".blk")), "blocks on the target")
}

// in is the world seen from a subtest.
func (w *world) in(t *testing.T) *world {
	sub := *w
	sub.t, sub.ctx = t, t.Context()
	return &sub
}

// change overwrites the blocks of an incremental that is called complete too
// early, and hashes the disk.
func (w *world) change(seed int) map[string]string {
	w.t.Helper()
	w.guest("fill", "vm", "--disk", "root", "--offset", "0", "--length", fmt.Sprint(earlyBytes), "--seed", fmt.Sprint(seed))
	return map[string]string{"root": w.guest("hash", "vm", "--disk", "root")}
}

// engineSaysComplete waits until the engine of vm-root calls a backup complete
// though nobody let it become so: without a URL.
func (w *world) engineSaysComplete(backup string) {
	w.t.Helper()
	w.eventually("the engine to call "+backup+" complete", func() (bool, string) {
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		defer cancel()
		status, err := w.engineOf("vm-root").BackupStatus(ctx, backup)
		if err != nil || status == nil {
			return false, words(status)
		}
		require.Empty(w.t, status.Error)
		return status.State == engine.StateComplete && status.URL == "", words(status)
	})
}
