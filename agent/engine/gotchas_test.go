package engine_test

// What engine v1.8.0 does that the product is built around. These tests are
// the reason for rules elsewhere; when one fails with another engine, the rule
// may be dropped.

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

// A backup of 16 to 19 blocks is called complete before it is written to the
// target: its state and the still empty URL never change again. So "complete"
// is no proof, and waiting for the URL never ends; the target tells.
func TestGotchaCompleteWithoutURL(t *testing.T) {
	t.Parallel()
	const tries = 10
	target := enginetest.Directory(t)
	v := enginetest.Start(t, enginetest.Options{})
	d := v.Device()
	backUp(t, v, target, cut(t, v)) // of nothing; the base
	empty := 0
	for i := range tries {
		blocks := 16 + i%4
		d.WriteBlocks(uint64(100+i), 0, blocks)
		name, started := start(t, v, target, cut(t, v))
		if !started.Incremental {
			t.Fatalf("backup %d is not incremental", i)
		}
		var s *engine.BackupStatus
		enginetest.Eventually(t, limit, "the engine calls it complete", func() bool {
			var err error
			s, err = open(v).BackupStatus(within(t, limit), name)
			must(t, err)
			return s != nil && s.State == engine.StateComplete
		})
		whole(t, v, target, name)
		if s.URL == "" {
			empty++
		}
		if i < tries-1 {
			continue
		}
		// The backup is whole; the status will still not have its URL.
		for until := time.Now().Add(2 * time.Second); s.URL == "" && time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
			var err error
			s, err = open(v).BackupStatus(within(t, limit), name)
			must(t, err)
		}
		if s.URL != "" {
			t.Errorf("the URL came: %+v", s)
		}
	}
	t.Logf("complete with an empty URL: %d of %d incremental backups of 16 to 19 blocks", empty, tries)
	if empty == 0 {
		t.Error("none: the engine's complete may be true by now")
	}
}

// The same with a target that fails on the last write: the engine reports
// success and no error for a backup that does not exist. With one block more
// it reports the error.
func TestGotchaCompleteWithoutBackup(t *testing.T) {
	t.Parallel()
	s3 := enginetest.StartS3(t)
	for blocks, state := range map[int]string{17: engine.StateComplete, 20: engine.StateError} {
		var writes atomic.Int32
		target := s3.Behind(func(r *http.Request) bool {
			// The first write says that the backup has begun, the second
			// makes it whole.
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/backups/backup_") && writes.Add(1) > 1
		})
		v := enginetest.Start(t, enginetest.Options{})
		v.Device().WriteBlocks(1, 0, blocks)
		name, _ := start(t, v, target, cut(t, v))
		var s *engine.BackupStatus
		enginetest.Eventually(t, limit, "the engine is done and the write was refused", func() bool {
			var err error
			s, err = open(v).BackupStatus(within(t, limit), name)
			must(t, err)
			return s != nil && s.State != engine.StateInProgress && writes.Load() > 1
		})
		if s.State != state || (s.Error == "") != (state == engine.StateComplete) {
			t.Errorf("%d blocks: the engine says %+v, want state %s", blocks, s, state)
		}
		if b, found := target.Backup(v.Name, name); !found || b.CreatedTime != "" {
			t.Errorf("%d blocks: the target has %+v, want an unfinished backup", blocks, b)
		}
	}
}

// A backup under a used name empties the former one as its first step. Killed
// there, as here, both are gone. Under a fresh name the former one lives.
func TestGotchaBackupNameReuse(t *testing.T) {
	t.Parallel()
	for _, naive := range []bool{true, false} {
		t.Run(map[bool]string{true: "same name", false: "fresh name"}[naive], func(t *testing.T) {
			t.Parallel()
			s3 := enginetest.StartS3(t)
			v := enginetest.Start(t, enginetest.Options{})
			v.Device().WriteBlocks(1, 0, 2)
			first := backUp(t, v, s3.Target, cut(t, v))
			v.Device().WriteBlocks(2, 0, 4)
			next := first
			if !naive {
				next = fresh("backup")
			}
			standing, _ := s3.Standing(http.MethodPut, 0)
			must(t, rawBackup(t, v, standing, cut(t, v), next, 1))
			enginetest.Eventually(t, limit, "the second backup has begun", func() bool {
				b, found := s3.Backup(v.Name, next)
				return found && b.CreatedTime == ""
			})
			v.Replicas[0].Process.Kill()
			b, found := s3.Backup(v.Name, first)
			lost := !found || b.CreatedTime == "" || len(b.Blocks) == 0
			if lost != naive {
				t.Errorf("first backup lost: %v, want %v (%+v)", lost, naive, b)
			}
		})
	}
}

// The base of an incremental is found by its snapshot's name. A name that was
// used for two snapshots makes the blocks between them vanish from the next
// backup, without an error. With fresh names the base is not found and the
// backup is full.
func TestGotchaSnapshotNameReuse(t *testing.T) {
	t.Parallel()
	for _, naive := range []bool{true, false} {
		t.Run(map[bool]string{true: "same name", false: "fresh names"}[naive], func(t *testing.T) {
			t.Parallel()
			target := enginetest.Directory(t)
			v := enginetest.Start(t, enginetest.Options{})
			e, d := open(v), v.Device()
			d.WriteBlocks(1, 0, 3)
			base := cut(t, v)
			backUp(t, v, target, base)
			d.WriteBlocks(1, 5, 1)
			cut(t, v)
			must(t, e.RemoveSnapshot(within(t, limit), base))
			must(t, e.Purge(within(t, limit)))

			d.WriteBlocks(1, 6, 1)
			again := base
			if !naive {
				again = fresh("snap")
			}
			must(t, e.CutSnapshot(within(t, limit), again, nil))
			d.WriteBlocks(1, 7, 1)
			name, started := start(t, v, target, cut(t, v))
			if started.Incremental != naive {
				t.Errorf("incremental %v, want %v", started.Incremental, naive)
			}
			var got []int64
			for _, b := range whole(t, v, target, name).Blocks {
				got = append(got, b.Offset/block)
			}
			want := []int64{0, 1, 2, 5, 6, 7}
			if naive {
				want = []int64{0, 1, 2, 7} // 5 and 6 are lost
			}
			if !slices.Equal(got, want) {
				t.Errorf("the backup holds the blocks %v, want %v", got, want)
			}
		})
	}
}

// The engine runs two backups of one volume at once: that only one owner
// works on a volume is for the lease to see to.
func TestGotchaTwoBackupsAtOnce(t *testing.T) {
	t.Parallel()
	target := enginetest.Directory(t)
	v := enginetest.Start(t, enginetest.Options{})
	v.Device().WriteBlocks(1, 0, 4)
	one := cut(t, v)
	v.Device().WriteBlocks(2, 2, 4)
	two := cut(t, v)
	errs := make(chan error, 2)
	for _, snapshot := range []string{one, two} {
		go func() {
			_, err := open(v).StartBackup(t.Context(), engine.BackupRequest{
				Snapshot: snapshot, Backup: "of-" + snapshot, TargetURL: target.URL,
			})
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Errorf("the engine has refused one: %v", err)
		}
	}
	whole(t, v, target, "of-"+one)
	whole(t, v, target, "of-"+two)
}

// Without threads a backup of several blocks waits forever, and one of a
// single block is complete, with its URL, and empty. We never ask for that.
func TestGotchaNoThreads(t *testing.T) {
	t.Parallel()
	for blocks, state := range map[int]string{1: engine.StateComplete, 3: engine.StateInProgress} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			target := enginetest.Directory(t)
			v := enginetest.Start(t, enginetest.Options{})
			v.Device().WriteBlocks(1, 0, blocks)
			snapshot := cut(t, v)
			must(t, rawBackup(t, v, target, snapshot, "naive", 0))
			name := backUp(t, v, target, snapshot) // ours is whole by now
			if s, err := open(v).BackupStatus(within(t, limit), "naive"); err != nil || s.State != state {
				t.Errorf("the backup without threads is %+v, %v; want %s", s, err, state)
			}
			naive, _ := target.Backup(v.Name, "naive")
			ours, _ := target.Backup(v.Name, name)
			if len(naive.Blocks) != 0 || len(ours.Blocks) != blocks {
				t.Errorf("of %d blocks, without threads %d are backed up, by us %d", blocks, len(naive.Blocks), len(ours.Blocks))
			}
		})
	}
}

// An engine that is attached again in the middle of a restore is healthy and
// knows of no restore, and the volume is empty: its looks prove nothing.
func TestGotchaInterruptedRestoreLooksHealthy(t *testing.T) {
	t.Parallel()
	s3 := enginetest.StartS3(t)
	from := enginetest.Start(t, enginetest.Options{})
	from.Device().WriteBlocks(7, 0, 2)
	backup := backUp(t, from, s3.Target, cut(t, from))
	v := into(t, from)
	standing, held := s3.Standing(http.MethodGet, 0)
	must(t, open(v).StartRestore(within(t, limit), restoreRequest(standing, from, backup)))
	enginetest.Eventually(t, limit, "it has begun", func() bool { return held() > 0 })
	v.Crash()
	v.Attach(true)
	info, err := open(v).Info(within(t, limit))
	must(t, err)
	list, err := open(v).RestoreStatus(within(t, limit))
	must(t, err)
	for i, r := range list {
		if info.Replicas[i].Mode != engine.ModeRW || r.State != "" || r.LastRestored != "" || r.Error != "" {
			t.Errorf("replica %s is %+v, want it healthy and without memory", r.Address, r)
		}
	}
	if strings.Trim(string(v.Device().Read(0, 2*block)), "\x00") != "" {
		t.Error("the volume holds data")
	}
}
