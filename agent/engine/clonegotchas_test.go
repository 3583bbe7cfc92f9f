package engine_test

// What engine v1.8.0 gets wrong when it clones; see gotchas_test.go.

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

// rawClone asks a replica for a clone as a naive caller would, and waits for
// the answer.
func rawClone(t *testing.T, v *enginetest.Volume, replica int, from *enginetest.Volume, snapshot string) error {
	t.Helper()
	return raw(t, v, replica).CloneSnapshot(from.Replicas[0].Addr, from.Name, snapshot, false, 30, 60)
}

// midway starts a clone of n blocks into a fresh volume and calls stop in the middle
// of its data; undo undoes that. A machine that has cloned nearly all of it by then
// does it again.
func midway(t *testing.T, into func() *enginetest.Volume, from *enginetest.Volume, snapshot string, n int64, stop func(*enginetest.Volume) (undo func())) (v *enginetest.Volume, started engine.CloneStarted, undo func()) {
	t.Helper()
	for range 5 {
		v = into()
		resume := from.Replicas[0].PauseAgent()
		started = startClone(t, v, from, snapshot)
		resume()
		file := filepath.Join(v.Replicas[0].Dir, "volume-snap-"+snapshot+".img")
		for until := time.Now().Add(limit); allocated(file) < block; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("no data comes")
			}
		}
		undo = stop(v)
		got := allocated(file)
		if got < n*block*3/4 {
			return v, started, undo
		}
		t.Logf("%d MiB of %d were there when it was stopped", got>>20, n*block>>20)
		undo()
	}
	t.Fatal("the clone was too fast each time")
	return nil, started, nil
}

// one makes fresh volumes of one replica, to clone into.
func one(t *testing.T, from *enginetest.Volume) func() *enginetest.Volume {
	return func() *enginetest.Volume {
		return enginetest.Start(t, enginetest.Options{SizeBytes: from.SizeBytes, NoFrontend: true})
	}
}

// allocated is how many bytes a file takes, 0 while there is none.
func allocated(file string) int64 {
	s, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return s.Sys().(*syscall.Stat_t).Blocks * 512
}

// The call that clones returns without an error when the clone has failed;
// the status tells. StartClone asks for it.
func TestGotchaFailedCloneIsNoError(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 1, enginetest.Options{})
	for _, naive := range []bool{true, false} {
		v := enginetest.Start(t, enginetest.Options{NoFrontend: true})
		// The replica cannot create its file: the name leads nowhere.
		must(t, os.Symlink("/nowhere/at/all", filepath.Join(v.Replicas[0].Dir, "volume-snap-"+snapshot+".img")))
		if naive {
			if err := rawClone(t, v, 0, from, snapshot); err != nil {
				t.Errorf("the engine says it after all: %v", err)
			}
		} else if _, err := open(v).StartClone(within(t, limit), request(from, snapshot)); err != nil && !strings.Contains(err.Error(), v.Replicas[0].Addr) {
			t.Errorf("StartClone: %v, want the replica's name", err)
		}
		if s := cloned(t, v); s[0].State != engine.StateError || s[0].Error == "" {
			t.Errorf("the failed clone says %+v", s)
		}
	}
}

// A second call during a clone is answered with success, declares the first
// clone failed while it runs on, and leaves its error on it for good. So a
// volume is cloned into once, and an error beside "complete" is no proof.
func TestGotchaCloneTwice(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 4, enginetest.Options{})
	v := enginetest.Start(t, enginetest.Options{NoFrontend: true})
	resume := from.Replicas[0].PauseAgent()
	started := startClone(t, v, from, snapshot)
	if err := rawClone(t, v, 0, from, snapshot); err != nil {
		t.Errorf("the second clone was refused: %v", err)
	}
	s, err := open(v).CloneStatus(within(t, limit))
	must(t, err)
	if s[0].State != engine.StateError || s[0].Cloning {
		t.Errorf("the running clone says %+v, want an error and that it does not run", s[0])
	}
	if _, err := open(v).StartClone(within(t, limit), request(from, snapshot)); !errors.Is(err, engine.ErrNotFresh) {
		t.Errorf("StartClone: %v, want ErrNotFresh", err)
	}
	resume()
	s = clones(t, v, "the first clone is complete", func(l []engine.ReplicaClone) bool { return l[0].State == engine.StateComplete })
	if s[0].Error == "" {
		t.Errorf("the completed clone says %+v, want the second one's error", s[0])
	}
	if _, err := open(v).CheckClone(within(t, limit), address(from), started); !errors.Is(err, engine.ErrNotCloned) {
		t.Errorf("CheckClone: %v, want ErrNotCloned", err)
	}
}

// A snapshot that is removed and purged during its clone turns into a mixture
// with the next one: complete, and no error. So the snapshot is kept by its
// owner, and CheckClone asks the source at the end.
func TestGotchaSnapshotPurgedDuringClone(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 64, enginetest.Options{})
	want := from.Device().Sum()
	from.Device().WriteBlocks(8, 0, 64)
	cut(t, from)
	v, started, resume := midway(t, one(t, from), from, snapshot, 64, func(v *enginetest.Volume) func() { return v.Replicas[0].PauseAgent() })
	must(t, open(from).RemoveSnapshot(within(t, limit), snapshot))
	must(t, open(from).Purge(within(t, limit)))
	resume()
	if s := cloned(t, v); s[0].State != engine.StateComplete || s[0].Error != "" {
		t.Errorf("the clone says %+v, want it complete", s[0])
	}
	if _, err := open(v).CheckClone(within(t, limit), address(from), started); !errors.Is(err, engine.ErrNotCloned) {
		t.Errorf("CheckClone: %v, want ErrNotCloned", err)
	}
	v.Detach()
	v.Attach(true)
	if v.Device().Sum() == want {
		t.Error("the clone holds the snapshot's data after all")
	}
}

// A snapshot that is marked as removed is cloned without a word.
func TestGotchaRemovedSnapshotIsCloned(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 1, enginetest.Options{})
	must(t, open(from).RemoveSnapshot(within(t, limit), snapshot))
	v := enginetest.Start(t, enginetest.Options{NoFrontend: true})
	must(t, rawClone(t, v, 0, from, snapshot))
	if s := cloned(t, v); s[0].State != engine.StateComplete {
		t.Errorf("the clone says %+v, want it complete", s[0])
	}
}

// A clone into a volume in use is not refused: what the volume held is gone.
// StartClone refuses.
func TestGotchaCloneDestroysData(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 1, enginetest.Options{})
	v := enginetest.Start(t, enginetest.Options{})
	v.Device().WriteBlocks(9, 3, 1)
	must(t, rawClone(t, v, 0, from, snapshot))
	if s := cloned(t, v); s[0].State != engine.StateComplete {
		t.Errorf("the clone says %+v, want it complete", s[0])
	}
	if strings.Trim(string(v.Device().Read(3*block, block)), "\x00") != "" {
		t.Error("the volume's data is still there: the engine may keep it by now")
	}
}

// A clone into a smaller volume is cut off and one into a volume without the
// image holds only the difference to it. Both are complete.
func TestGotchaCloneIntoAnother(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, []byte(strings.Repeat("image...", 64<<20/8)), 0o600))
	from, snapshot := snapped(t, 1, enginetest.Options{BackingFile: image})
	for name, o := range map[string]enginetest.Options{
		"smaller": {SizeBytes: from.SizeBytes - block, BackingFile: image}, "without the image": {SizeBytes: from.SizeBytes},
	} {
		o.NoFrontend = true
		v := enginetest.Start(t, o)
		must(t, rawClone(t, v, 0, from, snapshot))
		if s := cloned(t, v); s[0].State != engine.StateComplete || s[0].Error != "" {
			t.Errorf("%s: the clone says %+v, want it complete", name, s[0])
		}
		v.Detach()
		v.Attach(true)
		same := string(v.Device().Read(3*block, block)) == string(from.Device().Read(3*block, block))
		if same != (name == "smaller") {
			t.Errorf("%s: the image's data is the source's: %v", name, same)
		}
	}
}

// The clone does not need the source's controller, but dies with the source's
// replica, and says so. Its volume then looks like a fresh one apart from the
// status; attached again, like one into which nothing was ever cloned, while
// the half file lies in its folder. So the record decides, and the volume of a
// failed clone is deleted.
func TestGotchaSourceKilledDuringClone(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 64, enginetest.Options{})
	v, started, _ := midway(t, one(t, from), from, snapshot, 64, func(*enginetest.Volume) func() { return from.Replicas[0].PauseAgent() })
	from.Controller.Kill()
	if s, err := open(v).CloneStatus(within(t, limit)); err != nil || s[0].State != engine.StateInProgress {
		t.Fatalf("after the source's controller: %+v, %v; want the clone running", s, err)
	}
	from.Replicas[0].Process.Kill()
	if s := cloned(t, v); s[0].State != engine.StateError || s[0].Error == "" || s[0].Mode != engine.ModeRW {
		t.Errorf("after the source's replica: %+v, want an error", s[0])
	}
	if _, err := open(v).CheckClone(within(t, limit), address(from), started); !errors.Is(err, engine.ErrNotCloned) {
		t.Errorf("CheckClone: %v, want ErrNotCloned", err)
	}
	looksFresh(t, v, snapshot)
}

// looksFresh attaches the volume of a broken clone again, and expects it to
// look as if nothing had happened.
func looksFresh(t *testing.T, v *enginetest.Volume, snapshot string) {
	t.Helper()
	v.Crash()
	v.Attach(false)
	s, err := open(v).CloneStatus(within(t, limit))
	must(t, err)
	list, err := open(v).Snapshots(within(t, limit))
	must(t, err)
	for _, r := range s {
		if r.Mode != engine.ModeRW || r.State != "" || r.Error != "" || len(list) != 0 {
			t.Errorf("replica %s is %+v with %d snapshots, want it healthy, empty and without memory", r.Address, r, len(list))
		}
	}
	if _, err := os.Stat(filepath.Join(v.Replicas[0].Dir, "volume-snap-"+snapshot+".img")); err != nil {
		t.Errorf("the half file is gone: %v", err)
	}
}

// The engine that is cloned into may be killed, and is then attached again:
// healthy, empty, without memory. Another clone of the same snapshot goes over
// the half file and is right; of another one it would leave it there for good.
func TestGotchaInterruptedCloneLooksHealthy(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 64, enginetest.Options{})
	v, _, _ := midway(t, func() *enginetest.Volume { return into(t, from) }, from, snapshot, 64, func(v *enginetest.Volume) func() {
		v.Crash()
		return func() {}
	})
	looksFresh(t, v, snapshot)
	started := startClone(t, v, from, snapshot)
	cloned(t, v)
	_, err := open(v).CheckClone(within(t, limit), address(from), started)
	must(t, err)
	v.Detach()
	v.Attach(true)
	if v.Device().Sum() != from.Device().Sum() {
		t.Error("the second clone does not hold the snapshot's data")
	}
}

// One of two replicas dies during a clone, or its sync agent, which takes the
// replica along: the caller sees two that differ, not one that is done.
func TestCloneWithOneReplicaKilled(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"replica", "sync agent"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			from, snapshot := snapped(t, 16, enginetest.Options{})
			v := into(t, from)
			resume := from.Replicas[0].PauseAgent()
			started := startClone(t, v, from, snapshot)
			if part == "replica" {
				v.Replicas[1].Process.Kill()
			} else {
				must(t, syscall.Kill(v.Replicas[1].Process.Child(), syscall.SIGKILL))
			}
			resume()
			clones(t, v, "the other replica is done and this one given up", func(l []engine.ReplicaClone) bool {
				return l[0].State == engine.StateComplete && l[1].State == engine.StateUnreachable && l[1].Mode == engine.ModeERR
			})
			if _, err := open(v).CheckClone(within(t, limit), address(from), started); !errors.Is(err, engine.ErrNotCloned) {
				t.Errorf("CheckClone: %v, want ErrNotCloned", err)
			}
		})
	}
}
