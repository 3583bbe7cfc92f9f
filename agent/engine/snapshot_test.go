package engine_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

func TestInfo(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	info, err := open(v).Info(within(t, limit))
	must(t, err)
	if info.Name != v.Name || info.SizeBytes != v.SizeBytes || !info.FrontendUp || len(info.Replicas) != 2 {
		t.Errorf("info is %+v", info)
	}
	for i, r := range info.Replicas {
		if r.Address != v.Replicas[i].Addr || r.Mode != engine.ModeRW {
			t.Errorf("replica %d is %+v, want %s RW", i, r, v.Replicas[i].Addr)
		}
	}
}

// An address at which another volume's, another instance's or no engine
// stands is as good as no engine.
func TestWrongEngineIsUnavailable(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{})
	for name, a := range map[string]engine.Address{
		"other volume":   {Volume: "other", Instance: v.Instance, Addr: v.Addr},
		"other instance": {Volume: v.Name, Instance: "other", Addr: v.Addr},
		"nobody":         {Volume: v.Name, Instance: v.Instance, Addr: enginetest.FreeAddr(t, 1, 1)},
	} {
		_, err := engine.Open(a).Info(within(t, limit))
		if !errors.Is(err, engine.ErrUnavailable) || !strings.Contains(err.Error(), a.Volume) {
			t.Errorf("%s: %v, want ErrUnavailable that names the volume", name, err)
		}
	}
}

func TestCutSnapshot(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	first := cut(t, v)
	second := fresh("snap")
	must(t, open(v).CutSnapshot(within(t, limit), second, map[string]string{"point": "p"}))

	list, err := open(v).Snapshots(within(t, limit))
	must(t, err)
	a, b := list[first], list[second]
	if len(list) != 2 || b.Parent != first || a.Children[0] != second || b.Children[0] != engine.Head {
		t.Errorf("the chain is %+v", list)
	}
	if !b.UserCreated || b.Removed || b.Created == "" || b.Labels["point"] != "p" {
		t.Errorf("the snapshot is %+v", b)
	}

	err = open(v).CutSnapshot(within(t, limit), first, nil)
	if !errors.Is(err, engine.ErrExists) {
		t.Errorf("cutting %s again: %v, want ErrExists", first, err)
	}
	info, err := open(v).Info(within(t, limit))
	must(t, err)
	for _, r := range info.Replicas {
		if r.Mode != engine.ModeRW {
			t.Errorf("the refused cut has put replica %s into mode %s", r.Address, r.Mode)
		}
	}
}

// A replica on which a removal has begun is not a difference.
func TestSnapshotsDuringRemoval(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	name := cut(t, v)
	must(t, raw(t, v, 1).MarkDiskAsRemoved(name))
	list, err := open(v).Snapshots(within(t, limit))
	if err != nil || !list[name].Removed {
		t.Errorf("snapshots are %+v, %v; want %s removed", list, err, name)
	}
}

func TestRemoveAndPurge(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	d := v.Device()
	var names []string
	for i := range 3 {
		d.WriteBlocks(uint64(i), i, 3) // each covers a part of the one before
		names = append(names, cut(t, v))
	}
	sum := d.Sum()
	e := open(v)
	for _, name := range []string{names[0], names[1], "never-was"} {
		must(t, e.RemoveSnapshot(within(t, limit), name))
	}
	// Two at once, as an owner and the next one may: both are served.
	errs := make(chan error, 2)
	for range 2 {
		go func() { errs <- e.Purge(within(t, limit)) }()
	}
	must(t, errors.Join(<-errs, <-errs))

	list, err := e.Snapshots(within(t, limit))
	must(t, err)
	if len(list) != 1 || list[names[2]].Parent != "" {
		t.Errorf("after the purge: %+v, want %s alone", list, names[2])
	}
	if got := d.Sum(); got != sum {
		t.Error("the purge has changed the volume's data")
	}

	// The one below the head stays, emptied, until something is cut above it.
	must(t, e.RemoveSnapshot(within(t, limit), names[2]))
	must(t, e.Purge(within(t, limit)))
	list, err = e.Snapshots(within(t, limit))
	must(t, err)
	if !list[names[2]].Removed {
		t.Errorf("below the head: %+v, want it marked and still there", list[names[2]])
	}
	last := cut(t, v)
	must(t, e.Purge(within(t, limit)))
	list, err = e.Snapshots(within(t, limit))
	must(t, err)
	if _, ok := list[names[2]]; ok || len(list) != 1 {
		t.Errorf("after the next cut and purge: %+v, want %s alone", list, last)
	}
	if got := d.Sum(); got != sum {
		t.Error("the second purge has changed the volume's data")
	}
}

// What was marked before the call is gone after it, even when a purge that
// does not know of the mark was running.
func TestPurgeMeetsAnother(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{SizeBytes: 128 << 20, Replicas: 2})
	d := v.Device()
	var names []string
	for i, blocks := range []int{60, 60, 1, 1} {
		d.WriteBlocks(uint64(i), 0, blocks)
		names = append(names, cut(t, v))
	}
	sum, e := d.Sum(), open(v)
	must(t, e.RemoveSnapshot(within(t, limit), names[0])) // its child, 120 MiB, is folded into it
	for i := range v.Replicas {
		must(t, raw(t, v, i).SnapshotPurge())
	}
	must(t, e.RemoveSnapshot(within(t, limit), names[2]))
	must(t, e.Purge(within(t, limit)))
	list, err := e.Snapshots(within(t, limit))
	must(t, err)
	if _, ok := list[names[2]]; ok || len(list) != 2 {
		t.Errorf("after the purge: %+v, want %s and %s alone", list, names[1], names[3])
	}
	if d.Sum() != sum {
		t.Error("the purge has changed the volume's data")
	}
}

func TestChangesRefuseWhileRebuilding(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{Replicas: 2})
	name := cut(t, v)
	must(t, raw(t, v, 1).SetRebuilding(true))
	e := open(v)
	for what, err := range map[string]error{
		"RemoveSnapshot": e.RemoveSnapshot(within(t, limit), name),
		"Purge":          e.Purge(within(t, limit)),
	} {
		if !errors.Is(err, engine.ErrRebuilding) || !strings.Contains(err.Error(), v.Replicas[1].Addr) {
			t.Errorf("%s: %v, want ErrRebuilding that names the replica", what, err)
		}
	}
	if list, err := e.Snapshots(within(t, limit)); err != nil || list[name].Removed {
		t.Errorf("the refused removal has marked the snapshot: %+v, %v", list, err)
	}
}

func TestDeltaBytes(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{})
	d := v.Device()
	d.WriteBlocks(1, 0, 5)
	first := cut(t, v)
	d.WriteBlocks(2, 3, 3)
	second := cut(t, v)
	e := open(v)
	for _, tc := range []struct {
		snapshot, base string
		want           int64
	}{{first, "", 5 * block}, {second, first, 3 * block}, {second, "", 8 * block}} {
		if got, err := e.DeltaBytes(within(t, limit), tc.snapshot, tc.base); err != nil || got != tc.want {
			t.Errorf("DeltaBytes(%s, %q) = %d, %v; want %d", tc.snapshot, tc.base, got, err, tc.want)
		}
	}
	if _, err := e.DeltaBytes(within(t, limit), "never-was", ""); !errors.Is(err, engine.ErrSnapshotMissing) {
		t.Errorf("of an unknown snapshot: %v, want ErrSnapshotMissing", err)
	}
}

// An engine that ends closes its replicas first. They answer for a while, and
// have forgotten every snapshot.
func TestClosedReplicaTellsNothing(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{})
	name := cut(t, v)
	must(t, raw(t, v, 0).CloseReplica())
	e := open(v)
	if list, err := e.Snapshots(within(t, limit)); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("Snapshots: %v, %v; want ErrUnavailable", list, err)
	}
	if _, err := e.DeltaBytes(within(t, limit), name, ""); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("DeltaBytes: %v, want ErrUnavailable", err)
	}
	if err := e.RemoveSnapshot(within(t, limit), name); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("RemoveSnapshot: %v, want ErrUnavailable", err)
	}
}

// A cut without a front end is refused before it reaches the engine, which
// would die of it.
func TestCutWithoutFrontend(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{NoFrontend: true})
	err := open(v).CutSnapshot(within(t, limit), fresh("snap"), nil)
	if !errors.Is(err, engine.ErrFrontendDown) {
		t.Fatalf("CutSnapshot: %v, want ErrFrontendDown", err)
	}
	if _, err := open(v).Info(within(t, limit)); err != nil {
		t.Fatalf("the engine did not live through it: %v", err)
	}
	t.Run("unguarded, the engine dies", func(t *testing.T) {
		if _, err := v.Client().VolumeSnapshot(fresh("snap"), nil, false); err == nil {
			t.Error("the engine has cut a snapshot")
		}
		select {
		case <-v.Controller.Done():
		case <-time.After(limit):
			t.Error("the engine lives: the guard may no longer be needed")
		}
	})
}
