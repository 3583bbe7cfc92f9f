package engine_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

// Two points of a volume, the second incremental, go to a real S3 server and
// come back, each with exactly its own data.
func TestBackupAndRestoreOverS3(t *testing.T) {
	t.Parallel()
	s3 := enginetest.StartS3(t)
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	d := v.Device()
	d.WriteBlocks(1, 0, 8)
	firstSum, firstSnapshot := d.Sum(), cut(t, v)
	first, started := start(t, v, s3.Target, firstSnapshot)
	if started.Incremental || started.Replica != v.Replicas[0].Addr {
		t.Errorf("first backup: %+v, want a full one on the first replica", started)
	}
	whole(t, v, s3.Target, first)
	status, err := open(v).BackupStatus(within(t, limit), first)
	must(t, err)
	if status == nil || status.Replica != started.Replica || status.Snapshot != firstSnapshot || status.Error != "" || status.Progress > 100 {
		t.Errorf("status of the first backup is %+v", status)
	}

	d.WriteBlocks(2, 6, 3)
	secondSum, secondSnapshot := d.Sum(), cut(t, v)
	second, started := start(t, v, s3.Target, secondSnapshot)
	if !started.Incremental {
		t.Error("the second backup is not incremental")
	}
	if b := whole(t, v, s3.Target, second); b.SnapshotName != secondSnapshot {
		t.Errorf("the target holds snapshot %s, want %s", b.SnapshotName, secondSnapshot)
	}
	if got := len(s3.BlockFiles(v.Name)); got != 11 {
		t.Errorf("%d blocks on the target, want 8 and 3", got)
	}

	for backup, want := range map[string]string{first: firstSum, second: secondSum} {
		if got := restoredSum(t, s3.Target, v, backup, enginetest.Options{}); got != want {
			t.Errorf("sha256 of restored %s is %s, want %s", backup, got, want)
		}
	}
}

// "I do not know it", "I do not answer" and "another one knows it" are told
// apart, and a replica that the engine has given up counts no more.
func TestBackupStatusAsksEveryReplica(t *testing.T) {
	t.Parallel()
	target := enginetest.Directory(t)
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	v.Device().WriteBlocks(1, 0, 1)
	name, _ := start(t, v, target, cut(t, v))
	e := open(v)
	ask := func(backup string) (*engine.BackupStatus, error) { return e.BackupStatus(within(t, limit), backup) }

	if got, err := ask("never-was"); got != nil || err != nil {
		t.Errorf("unknown backup: %+v, %v; want nil, nil", got, err)
	}
	other := v.Replicas[1].Process
	agent := other.Child()
	must(t, syscall.Kill(agent, syscall.SIGSTOP))
	begun := time.Now()
	if got, err := ask("never-was"); got != nil || !errors.Is(err, engine.ErrUnavailable) || !strings.Contains(err.Error(), v.Replicas[1].Addr) {
		t.Errorf("unknown to one, the other silent: %+v, %v; want ErrUnavailable that names the silent one", got, err)
	}
	if got, err := ask(name); got == nil || err != nil {
		t.Errorf("known to one, the other silent: %+v, %v; want the status", got, err)
	}
	if took := time.Since(begun); took > limit/2 {
		t.Errorf("the silent one has held up two questions for %v", took)
	}
	// Its sync agent gone, and the replica, stopped, has not ended with it.
	other.Pause()
	must(t, syscall.Kill(agent, syscall.SIGKILL))
	if got, err := ask("never-was"); got != nil || !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("unknown to one, the other refuses connections: %+v, %v; want ErrUnavailable", got, err)
	}
	other.Kill()
	givenUp(t, v, 1)
	if got, err := ask("never-was"); got != nil || err != nil {
		t.Errorf("unknown, the other given up: %+v, %v; want nil, nil", got, err)
	}
}

// givenUp waits until the engine has noticed that a replica is gone.
func givenUp(t *testing.T, v *enginetest.Volume, replica int) {
	t.Helper()
	enginetest.Eventually(t, limit, "the engine gives up the dead replica", func() bool {
		info, err := open(v).Info(within(t, limit))
		must(t, err)
		return info.Replicas[replica].Mode == engine.ModeERR
	})
}

// A sync agent takes its memory of finished backups with it, and its replica:
// the backup is on the target and nobody knows of it.
func TestBackupOfKilledSyncAgentIsForgotten(t *testing.T) {
	t.Parallel()
	target := enginetest.Directory(t)
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	v.Device().WriteBlocks(1, 0, 1)
	name := backUp(t, v, target, cut(t, v))
	must(t, syscall.Kill(v.Replicas[0].Process.Child(), syscall.SIGKILL))
	givenUp(t, v, 0)
	if got, err := open(v).BackupStatus(within(t, limit), name); got != nil || err != nil {
		t.Errorf("status is %+v, %v; want nil, nil", got, err)
	}
	whole(t, v, target, name)
}

func TestStartBackupRefuses(t *testing.T) {
	t.Parallel()
	target := enginetest.Directory(t)
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	v.Device().WriteBlocks(1, 0, 1)
	removed, kept := cut(t, v), cut(t, v)
	e := open(v)
	must(t, e.RemoveSnapshot(within(t, limit), removed))
	name := backUp(t, v, target, kept)
	for _, tc := range []struct {
		what, snapshot, backup string
		want                   error
	}{
		{"unknown snapshot", "never-was", fresh("backup"), engine.ErrSnapshotMissing},
		{"snapshot on its way out", removed, fresh("backup"), engine.ErrSnapshotMissing},
		{"name of a known backup", kept, name, engine.ErrExists},
	} {
		_, err := e.StartBackup(within(t, limit), engine.BackupRequest{Snapshot: tc.snapshot, Backup: tc.backup, TargetURL: target.URL})
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.what, err, tc.want)
		}
		if tc.backup == name {
			continue
		}
		if _, found := target.Backup(v.Name, tc.backup); found {
			t.Errorf("%s: the refused backup is on the target", tc.what)
		}
	}
}

// A target that accepts connections and answers nothing holds the caller no
// longer than its deadline, and the attempt stays visible.
func TestStartBackupOnSilentTarget(t *testing.T) {
	t.Parallel()
	s3 := enginetest.StartS3(t)
	v := enginetest.Start(t, enginetest.Options{})
	v.Device().WriteBlocks(1, 0, 1)
	snapshot := cut(t, v)
	s3.Process.Pause()
	for allowed := 3 * time.Second; ; allowed *= 3 {
		begun, name := time.Now(), fresh("backup")
		_, err := open(v).StartBackup(within(t, allowed), engine.BackupRequest{
			Snapshot: snapshot, Backup: name, TargetURL: s3.URL, Credential: s3.Credential,
		})
		if took := time.Since(begun); !errors.Is(err, engine.ErrUnavailable) || took > allowed+limit/2 {
			t.Errorf("StartBackup: %v after %v, want ErrUnavailable after %v", err, took, allowed)
		}
		status, err := open(v).BackupStatus(within(t, limit), name)
		must(t, err)
		if status == nil && allowed < limit {
			continue // a busy machine has not come so far in that time
		}
		if status == nil || status.State != engine.StateInProgress || status.Progress != 0 {
			t.Errorf("status of the hanging attempt is %+v, want it in progress at 0", status)
		}
		return
	}
}

// The target's refusal comes through in the engine's words, without the key.
func TestStartBackupWithWrongKey(t *testing.T) {
	t.Parallel()
	s3 := enginetest.StartS3(t)
	v := enginetest.Start(t, enginetest.Options{})
	v.Device().WriteBlocks(1, 0, 1)
	const canary = "canary-4711-secret"
	s3.Credential["AWS_SECRET_ACCESS_KEY"] = canary
	_, err := open(v).StartBackup(within(t, limit), engine.BackupRequest{
		Snapshot: cut(t, v), Backup: fresh("backup"), TargetURL: s3.URL, Credential: s3.Credential,
	})
	if err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("StartBackup: %v, want SignatureDoesNotMatch", err)
	}
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Error("the error holds the secret key")
	}
}

// A target that is filled up by a transfer: the engine ends it and says why, which
// is all that anybody learns of the cause.
func TestBackupToATargetThatFillsUp(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
	target := enginetest.Directory(t)
	must(t, syscall.Mount("tmpfs", target.Dir, "tmpfs", 0, "size=5m"))
	t.Cleanup(func() { must(t, syscall.Unmount(target.Dir, syscall.MNT_DETACH)) })
	v := enginetest.Start(t, enginetest.Options{})
	v.Device().WriteBlocks(1, 0, 8) // 2 MiB each
	name, _ := start(t, v, target, cut(t, v))
	said := ""
	enginetest.Eventually(t, limit, "the engine gives the backup up", func() bool {
		s, err := open(v).BackupStatus(within(t, limit), name)
		must(t, err)
		if s == nil {
			return false
		}
		said = s.Error
		return s.State == engine.StateError
	})
	if !strings.Contains(said, "no space left on device") {
		t.Errorf("the engine says %q, want the cause", said)
	}
}

// A volume over a backing image: its backup holds the difference only, and
// comes back whole on a volume over the same image.
func TestBackupOverBackingImage(t *testing.T) {
	t.Parallel()
	target := enginetest.Directory(t)
	image := image(t, 10)
	v := enginetest.Start(t, enginetest.Options{Replicas: 2, BackingFile: image})
	d := v.Device()
	d.WriteBlocks(2, 4, 2)
	sum, snapshot, name := d.Sum(), cut(t, v), fresh("backup")
	_, err := open(v).StartBackup(within(t, limit), engine.BackupRequest{
		Snapshot: snapshot, Backup: name, TargetURL: target.URL,
		BackingImage: "base", BackingImageChecksum: "sum-of-base",
	})
	must(t, err)
	b := whole(t, v, target, name)
	if len(b.Blocks) != 2 {
		t.Errorf("the backup has %d blocks, want the 2 that differ from the image", len(b.Blocks))
	}
	if got := restoredSum(t, target, v, name, enginetest.Options{BackingFile: image}); got != sum {
		t.Errorf("sha256 over the image is %s, want %s", got, sum)
	}
	if got := restoredSum(t, target, v, name, enginetest.Options{}); got == sum {
		t.Error("without the image the data is the same: the image was not needed")
	}
}

// image is a raw image of n blocks.
func image(t *testing.T, n int) string {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/base.raw")
	must(t, err)
	for i := range n {
		_, err := f.Write(enginetest.Block(99, i))
		must(t, err)
	}
	must(t, f.Close())
	return f.Name()
}
