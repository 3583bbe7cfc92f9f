package targetwork_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/test/enginetest"
)

// A transfer whose process was killed leaves a configuration in progress, a
// lock and blocks. All of it goes, and another point's data stays.
func TestKilledTransferLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s3 := enginetest.StartS3(t)
	target := w.s3(t, s3.Target)
	volume := enginetest.Start(t, enginetest.Options{})
	device := volume.Device()
	device.WriteBlocks(1, 0, 4)
	kept, killed := w.makeVM(t, "kept", volume), w.makeVM(t, "killed", volume)
	kept.backUp(t, s3.Target, volume)
	require.NoError(t, w.Capture(within(t, limit), target, kept.capture()))
	_, err := w.Finalize(within(t, limit), target, kept.finalize())
	require.NoError(t, err)

	device.WriteBlocks(2, 0, 16)
	disk := killed.disks[0]
	snapshot(t, volume, disk.Snapshot)
	standing, held := s3.Standing(http.MethodPut, 8)
	startBackup(t, volume, standing, disk.Snapshot, disk.Backup)
	enginetest.Eventually(t, limit, "some blocks are there", func() bool { return held() > 0 && len(s3.BlockFiles(volume.Name)) > 8 })
	require.NoError(t, syscall.Kill(volume.Replicas[0].Process.Child(), syscall.SIGKILL))
	b, found := s3.Backup(volume.Name, disk.Backup)
	require.True(t, found && b.CreatedTime == "")
	require.Len(t, locks(t, s3.Target, volume.Name), 1)

	// Only what is in progress is dropped.
	failed(t, w.DropAttempt(within(t, limit), target, volume.Name, kept.disks[0].Backup), protocol.Mismatch, "is complete")
	require.NoError(t, w.DropAttempt(within(t, limit), target, volume.Name, disk.Backup))
	require.NoError(t, w.DropAttempt(within(t, limit), target, volume.Name, disk.Backup), "dropping can be repeated")
	_, found = s3.Backup(volume.Name, disk.Backup)
	require.False(t, found)

	err = w.DeletePoint(within(t, limit), target, killed.deletion())
	failed(t, err, protocol.Locked, "is locked")
	require.True(t, transient(err))
	require.Len(t, locks(t, s3.Target, volume.Name), 1, "the refused deletion left its own lock")

	// Instead of waiting 150 s: the lock's age is its file's on the server.
	old := time.Now().Add(-10 * time.Minute)
	require.NoError(t, os.Chtimes(locks(t, s3.Target, volume.Name)[0], old, old))
	require.NoError(t, w.DeletePoint(within(t, limit), target, killed.deletion()))
	require.Len(t, s3.BlockFiles(volume.Name), 4, "blocks of the killed transfer are left, or the other point's are gone")
	_, err = w.InspectBlocks(within(t, limit), target, kept.point.Namespace, kept.disks)
	require.NoError(t, err)

	require.NoError(t, w.DeletePoint(within(t, limit), target, kept.deletion()))
	require.Empty(t, s3.BlockFiles(volume.Name))
}

// backedUp is a volume with one backup of four blocks.
func backedUp(t *testing.T, w *world, target *enginetest.Target) (*vm, *enginetest.Volume) {
	t.Helper()
	volume := enginetest.Start(t, enginetest.Options{})
	volume.Device().WriteBlocks(1, 0, 4)
	v := w.makeVM(t, "vm", volume)
	v.backUp(t, target, volume)
	return v, volume
}

// backupstore takes a failed listing of backups for an empty one and would then
// free every block. Here another backup, that is to stay, uses them all.
func TestFailedListingFreesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s3 := enginetest.StartS3(t)
	v, volume := backedUp(t, w, s3.Target)
	snapshot(t, volume, "later")
	backUp(t, volume, s3.Target, "later", "to-stay")
	require.Len(t, s3.BlockFiles(volume.Name), 4)
	var listings atomic.Int64
	behind := s3.Behind(func(r *http.Request) bool {
		// The worker's own listing passes, backupstore's do not.
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Query().Get("prefix"), "/backups/") && listings.Add(1) > 1
	})
	err := w.DeletePoint(within(t, limit), w.s3(t, behind), v.deletion())
	failed(t, err, protocol.AccessDenied, "listing")
	require.Greater(t, listings.Load(), int64(1))
	require.Len(t, s3.BlockFiles(volume.Name), 4, "blocks in use were freed")
	require.NoError(t, w.DeletePoint(within(t, limit), w.s3(t, s3.Target), v.deletion()))
	require.Len(t, s3.BlockFiles(volume.Name), 4)
}

// A deletion that was interrupted after the backup's configuration was gone
// frees the blocks when it is repeated.
func TestRepeatedDeletionFreesBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := enginetest.Directory(t)
	v, volume := backedUp(t, w, dir)
	require.NoError(t, os.Remove(onTarget(t, dir, volume.Name, "backups", "*.cfg")[0]))
	require.Len(t, dir.BlockFiles(volume.Name), 4)
	require.NoError(t, w.DeletePoint(within(t, limit), directory(dir.Dir), v.deletion()))
	require.Empty(t, dir.BlockFiles(volume.Name))
	require.Empty(t, locks(t, dir, volume.Name))
}

// A deletion that hangs ends in time and gives its lock back: a lock that
// stayed would keep backups of the volume away for 150 s.
func TestHungDeletionGivesItsLockBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s3 := enginetest.StartS3(t)
	v, volume := backedUp(t, w, s3.Target)
	standing, hung := s3.Standing(http.MethodDelete, 0)
	for allowed := 12 * time.Second; hung() == 0; allowed *= 2 { // a busy machine may not come so far in that time
		require.Less(t, allowed, 4*limit)
		failed(t, w.DeletePoint(within(t, allowed), w.s3(t, standing), v.deletion()), protocol.Timeout, "")
	}
	require.Empty(t, locks(t, s3.Target, volume.Name))
	require.NoError(t, w.DeletePoint(within(t, limit), w.s3(t, s3.Target), v.deletion()))
	require.Empty(t, s3.BlockFiles(volume.Name))
}

// A deletion that is told to end while backupstore waits with its lock on the
// target (it always waits two seconds) takes the lock away.
func TestCancelledDeletionGivesItsLockBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s3 := enginetest.StartS3(t)
	v, volume := backedUp(t, w, s3.Target)
	ctx, cancel := context.WithCancel(within(t, limit))
	locked := make(chan struct{})
	go func() {
		defer cancel()
		defer close(locked)
		enginetest.Eventually(t, limit, "the deletion has made its lock", func() bool { return len(locks(t, s3.Target, volume.Name)) > 0 })
	}()
	var mine atomic.Bool
	behind := s3.Behind(func(r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/locks/") {
			mine.Store(true)
		} else if r.Method == http.MethodGet && mine.Load() {
			<-locked // however late that is seen, it comes no further
		}
		return false
	})
	require.ErrorIs(t, w.DeletePoint(ctx, w.s3(t, behind), v.deletion()), context.Canceled)
	require.Empty(t, locks(t, s3.Target, volume.Name))
	require.Len(t, s3.BlockFiles(volume.Name), 4)
	require.NoError(t, w.DeletePoint(within(t, limit), w.s3(t, s3.Target), v.deletion()))
}

// A lock whose writing was cut off, or failed, may be on the target all the same: a
// deletion that ends then takes it away.
func TestDeletionTakesItsUnansweredLockAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s3 := enginetest.StartS3(t)
	v, volume := backedUp(t, w, s3.Target)
	ctx, cancel := context.WithCancel(within(t, limit))
	var made atomic.Bool
	unanswered := s3.Unanswered(func(r *http.Request) bool {
		lock := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/locks/")
		if lock {
			made.Store(len(locks(t, s3.Target, volume.Name)) > 0)
			cancel()
		}
		return lock
	})
	require.ErrorIs(t, w.DeletePoint(ctx, w.s3(t, unanswered), v.deletion()), context.Canceled)
	require.True(t, made.Load())
	require.Empty(t, locks(t, s3.Target, volume.Name))
	require.Len(t, s3.BlockFiles(volume.Name), 4)
	require.NoError(t, w.DeletePoint(within(t, limit), w.s3(t, s3.Target), v.deletion()))
}

// Unreadable configurations of a point must not keep it from being deleted.
func TestDamagedBackupIsDeleted(t *testing.T) {
	t.Parallel()
	for _, file := range [][]string{{"backups", "*.cfg"}, {"volume.cfg"}} {
		t.Run(file[0], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dir := enginetest.Directory(t)
			v, volume := backedUp(t, w, dir)
			require.NoError(t, os.WriteFile(onTarget(t, dir, volume.Name, file...)[0], []byte("{"), 0o600))
			if file[0] == "backups" {
				failed(t, w.DropAttempt(within(t, limit), directory(dir.Dir), volume.Name, v.disks[0].Backup), protocol.Damaged, "cannot be read")
			}
			require.NoError(t, w.DeletePoint(within(t, limit), directory(dir.Dir), v.deletion()))
			require.Empty(t, onTarget(t, dir, volume.Name, "backups", "*.cfg"))
			if file[0] == "backups" {
				require.Empty(t, dir.BlockFiles(volume.Name))
			}
		})
	}
}

func TestDeleteRefusesNamesThatAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := directory(t.TempDir())
	for says, r := range map[string]targetwork.DeleteRequest{
		"not the path of a point's document": {DocumentPath: "backupstore/volumes/aa/bb/v/volume.cfg"},
		"not the UID of a point":             {DraftUID: "../../x"},
		"not a name of a volume":             {Backups: []targetwork.Backup{{Volume: "../v", Backup: "b1"}}},
		"not a name of a backup":             {Backups: []targetwork.Backup{{Volume: "v1", Backup: "b&volume=x"}}},
	} {
		failed(t, w.DeletePoint(within(t, limit), target, r), protocol.Invalid, says)
	}
	require.NoError(t, w.DeletePoint(within(t, limit), target, targetwork.DeleteRequest{Backups: []targetwork.Backup{{Volume: "absent", Backup: "absent"}}}))
	failed(t, w.DeletePoint(within(t, limit), directory("/nonexistent"), targetwork.DeleteRequest{Backups: []targetwork.Backup{{Volume: "absent", Backup: "absent"}}}),
		protocol.NotFound, "does not exist here")
}
