package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

func usage(t *testing.T, v *enginetest.Volume) engine.SnapshotUsage {
	t.Helper()
	u, err := open(v).SnapshotUsage(within(t, limit))
	must(t, err)
	return u
}

func healthy(t *testing.T, v *enginetest.Volume) {
	t.Helper()
	info, err := open(v).Info(within(t, limit))
	must(t, err)
	for _, r := range info.Replicas {
		if r.Mode != engine.ModeRW {
			t.Errorf("replica %s is in mode %s", r.Address, r.Mode)
		}
	}
}

// A volume at its limit refuses a cut, and keeps its replicas. Marking a
// snapshot as removed makes room in the engine's count, not in the chain.
func TestSnapshotLimit(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 2, SnapshotMax: 3})
	first := cut(t, v)
	cut(t, v)
	cut(t, v)
	if got, want := usage(t, v), (engine.SnapshotUsage{Count: 3, Max: 3, Chain: 3}); got != want || got.Room() != 0 {
		t.Errorf("usage is %+v, want %+v", got, want)
	}
	if err := open(v).CutSnapshot(within(t, limit), fresh("snap"), nil); !errors.Is(err, engine.ErrSnapshotLimit) {
		t.Errorf("one too many: %v, want ErrSnapshotLimit", err)
	}
	healthy(t, v)
	must(t, open(v).RemoveSnapshot(within(t, limit), first))
	if got, want := usage(t, v), (engine.SnapshotUsage{Count: 2, Max: 3, Chain: 3}); got != want || got.Room() != 1 {
		t.Errorf("usage after a removal is %+v, want %+v", got, want)
	}
	cut(t, v)
	if got, want := usage(t, v), (engine.SnapshotUsage{Count: 3, Max: 3, Chain: 4}); got != want {
		t.Errorf("usage after another cut is %+v, want %+v", got, want)
	}
	must(t, open(v).Purge(within(t, limit)))
	if got := usage(t, v); got.Chain != 3 {
		t.Errorf("usage after the purge is %+v", got)
	}
}

// The engine counts a backing image as a snapshot, and refuses by itself.
func TestSnapshotLimitOverBackingImage(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, make([]byte, 64<<20), 0o600))
	v := enginetest.Start(t, enginetest.Options{BackingFile: image, SnapshotMax: 2})
	cut(t, v)
	if got, want := usage(t, v), (engine.SnapshotUsage{Count: 2, Max: 2, Chain: 1}); got != want || got.Room() != 0 {
		t.Errorf("usage is %+v, want %+v", got, want)
	}
	if _, err := v.Client().VolumeSnapshot(fresh("snap"), nil, false); err == nil {
		t.Error("the engine has cut one too many")
	}
}

// A replica that does not answer is left to the engine to judge.
func TestCutWithOneReplicaSilent(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	v.Replicas[1].Process.Kill()
	cut(t, v)
	if got := usage(t, v); got.Chain != 1 {
		t.Errorf("usage is %+v, want one snapshot", got)
	}
}

// With its default limit of 250 snapshots the engine cuts one that it cannot
// open again: the volume is lost to its users at the next attach. CutSnapshot
// stops before. As long as it is attached, a purge saves it.
func TestGotchaChainTooLong(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{})
	v.Device().WriteBlocks(1, 0, 1)
	for range engine.ChainMax - 1 {
		_, err := v.Client().VolumeSnapshot(fresh("snap"), nil, false)
		must(t, err)
	}
	last := cut(t, v)
	if u := usage(t, v); u.Chain != engine.ChainMax || u.Count >= u.Max {
		t.Fatalf("usage is %+v, want the chain full and room in the engine's count", u)
	}
	if err := open(v).CutSnapshot(within(t, limit), fresh("snap"), nil); !errors.Is(err, engine.ErrSnapshotLimit) {
		t.Fatalf("one too many: %v, want ErrSnapshotLimit", err)
	}
	v.Detach()
	v.Attach(true)

	tooMany := func() {
		t.Helper()
		if _, err := v.Client().VolumeSnapshot(fresh("snap"), nil, false); err != nil {
			t.Fatalf("the engine refuses by now: %v", err)
		}
	}
	tooMany()
	must(t, open(v).RemoveSnapshot(within(t, limit), last))
	must(t, open(v).Purge(within(t, limit)))
	v.Detach()
	v.Attach(true)

	tooMany()
	v.Detach()
	v.TryAttach(true)
	select {
	case <-v.Controller.Done():
	case <-time.After(limit):
		t.Error("the engine has opened the volume: its limit may be right by now")
	}
}
