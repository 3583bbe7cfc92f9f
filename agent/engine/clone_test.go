package engine_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

func address(v *enginetest.Volume) engine.Address {
	return engine.Address{Volume: v.Name, Instance: v.Instance, Addr: v.Addr}
}

func request(from *enginetest.Volume, snapshot string) engine.CloneRequest {
	return engine.CloneRequest{Source: address(from), Snapshot: snapshot}
}

// snapped is a volume with a snapshot of n random blocks.
func snapped(t *testing.T, n int, o enginetest.Options) (*enginetest.Volume, string) {
	t.Helper()
	o.SizeBytes = max(64<<20, int64(n)*block)
	v := enginetest.Start(t, o)
	v.Device().WriteBlocks(7, 0, n)
	return v, cut(t, v)
}

func startClone(t *testing.T, v, from *enginetest.Volume, snapshot string) engine.CloneStarted {
	t.Helper()
	started, err := open(v).StartClone(within(t, limit), request(from, snapshot))
	must(t, err)
	return started
}

// clones waits until ok holds for what the replicas say of their clones.
func clones(t *testing.T, v *enginetest.Volume, what string, ok func([]engine.ReplicaClone) bool) []engine.ReplicaClone {
	t.Helper()
	var list []engine.ReplicaClone
	enginetest.Eventually(t, limit, what, func() bool {
		var err error
		list, err = open(v).CloneStatus(within(t, limit))
		must(t, err)
		return ok(list)
	})
	return list
}

// cloned waits until no replica is cloning any more.
func cloned(t *testing.T, v *enginetest.Volume) []engine.ReplicaClone {
	t.Helper()
	return clones(t, v, "the clone has ended", func(list []engine.ReplicaClone) bool {
		return !slices.ContainsFunc(list, func(r engine.ReplicaClone) bool {
			return r.State != engine.StateComplete && r.State != engine.StateError
		})
	})
}

// The clone of a snapshot in the middle of a chain holds the data of that
// snapshot on every replica, while the source is written to.
func TestClone(t *testing.T) {
	t.Parallel()
	for replicas, name := range map[int]string{1: "one replica", 2: "two replicas"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := enginetest.Start(t, enginetest.Options{Replicas: 2})
			d := from.Device()
			d.WriteBlocks(1, 0, 8)
			d.Write(20*block+4096, []byte(strings.Repeat("x", 4096))) // one sector
			cut(t, from)
			d.WriteBlocks(2, 4, 8)
			snapshot, want := cut(t, from), d.Sum()
			d.WriteBlocks(3, 0, 6)
			cut(t, from)

			v := enginetest.Start(t, enginetest.Options{Replicas: replicas, NoFrontend: true})
			resume := from.Replicas[0].PauseAgent()
			started := startClone(t, v, from, snapshot)
			if started.From != from.Replicas[0].Addr || started.Created == "" || started.Snapshot != snapshot {
				t.Errorf("started is %+v", started)
			}
			if _, err := open(v).CheckClone(within(t, limit), address(from), started); !errors.Is(err, engine.ErrNotCloned) {
				t.Errorf("CheckClone of a running clone: %v, want ErrNotCloned", err)
			}
			d.WriteBlocks(4, 2, 10)
			resume()
			d.WriteBlocks(5, 10, 10)
			source := d.Sum()
			cloned(t, v)
			said, err := open(v).CheckClone(within(t, limit), address(from), started)
			must(t, err)
			if len(said) != replicas {
				t.Errorf("%d replicas speak for the clone, want %d", len(said), replicas)
			}
			list, err := open(v).Snapshots(within(t, limit))
			must(t, err)
			if s := list[snapshot]; len(list) != 1 || s.Parent != "" || s.Children[0] != engine.Head || s.UserCreated || s.Created != "" {
				t.Errorf("the clone's chain is %+v, want %s alone", list, snapshot)
			}
			if got := from.Device().Sum(); got != source {
				t.Error("the clone has changed the source")
			}

			// The front end may be started at once, or after attaching again.
			must(t, v.Client().VolumeFrontendStart("socket"))
			if got := v.Device().Sum(); got != want {
				t.Error("the clone does not hold the snapshot's data")
			}
			v.Detach()
			v.Attach(true)
			if got := v.Device().Sum(); got != want {
				t.Error("attached again, the clone does not hold the snapshot's data")
			}
			v.Device().WriteBlocks(6, 30, 1)
			cut(t, v)
			for i := range replicas - 1 { // what is left is read from the last one alone
				v.Replicas[i].Process.Kill()
			}
			if !bytes.Equal(v.Device().Read(4*block, block), enginetest.Block(2, 4)) || !bytes.Equal(v.Device().Read(0, block), enginetest.Block(1, 0)) {
				t.Error("the last replica holds something else")
			}
		})
	}
}

func TestStartCloneRefuses(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 1, enginetest.Options{Replicas: 2})
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, make([]byte, from.SizeBytes), 0o600))
	removed := cut(t, from)
	must(t, open(from).RemoveSnapshot(within(t, limit), removed))
	good := request(from, snapshot)
	for name, tc := range map[string]struct {
		options enginetest.Options
		before  func(*testing.T, *enginetest.Volume)
		request engine.CloneRequest
		want    error
	}{
		"written to": {before: func(_ *testing.T, v *enginetest.Volume) {
			v.Detach()
			v.Attach(true)
			v.Device().Write(0, make([]byte, 4096))
			v.Detach()
			v.Attach(false)
		}, request: good, want: engine.ErrNotFresh},
		"cloned before": {before: func(t *testing.T, v *enginetest.Volume) {
			startClone(t, v, from, snapshot)
		}, request: good, want: engine.ErrNotFresh},
		"front end up": {before: func(t *testing.T, v *enginetest.Volume) {
			must(t, v.Client().VolumeFrontendStart("socket"))
		}, request: good, want: engine.ErrFrontendUp},
		"another size":       {options: enginetest.Options{SizeBytes: from.SizeBytes + block}, request: good, want: engine.ErrSize},
		"another image":      {options: enginetest.Options{BackingFile: image}, request: good, want: engine.ErrBackingImage},
		"unknown snapshot":   {request: request(from, "never-was"), want: engine.ErrSnapshotMissing},
		"removed snapshot":   {request: request(from, removed), want: engine.ErrSnapshotMissing},
		"no source":          {request: engine.CloneRequest{Source: engine.Address{Volume: from.Name, Instance: "other", Addr: from.Addr}, Snapshot: snapshot}, want: engine.ErrUnavailable},
		"no snapshot's name": {request: request(from, engine.Head)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := tc.options
			o.Replicas, o.NoFrontend = 1, true
			v := enginetest.Start(t, o)
			if tc.before != nil {
				tc.before(t, v)
			}
			before, err := open(v).CloneStatus(within(t, limit))
			must(t, err)
			enginetest.Eventually(t, limit, "the replica is not changing its files", func() bool {
				_, err = open(v).StartClone(within(t, limit), tc.request)
				return errors.Is(tc.want, engine.ErrUnavailable) || !errors.Is(err, engine.ErrUnavailable)
			})
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Fatalf("StartClone: %v, want %v", err, tc.want)
			}
			after, err := open(v).CloneStatus(within(t, limit))
			must(t, err)
			if before[0].State == "" && after[0].State != "" {
				t.Errorf("the refused clone has started: %+v", after[0])
			}
			// A volume with a clone is none to restore into either.
			if name == "cloned before" {
				err := open(v).StartRestore(within(t, limit), engine.RestoreRequest{BackupURL: "vfs:///x", File: "volume-snap-x.img"})
				if !errors.Is(err, engine.ErrNotFresh) {
					t.Errorf("StartRestore: %v, want ErrNotFresh", err)
				}
			}
		})
	}
	self := engine.CloneRequest{Source: address(from), Snapshot: snapshot}
	if _, err := open(from).StartClone(within(t, limit), self); err == nil || !strings.Contains(err.Error(), "itself") {
		t.Errorf("into itself: %v", err)
	}
}

// A clone over the same image holds the source's data, the image's included.
func TestCloneOverBackingImage(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, bytes.Repeat([]byte("image..."), 64<<20/8), 0o600))
	o := enginetest.Options{BackingFile: image}
	from, snapshot := snapped(t, 2, o)
	want := from.Device().Sum()
	o.Replicas, o.NoFrontend = 2, true
	v := enginetest.Start(t, o)
	started := startClone(t, v, from, snapshot)
	cloned(t, v)
	_, err := open(v).CheckClone(within(t, limit), address(from), started)
	must(t, err)
	v.Detach()
	v.Attach(true)
	if v.Device().Sum() != want {
		t.Error("the clone does not hold the snapshot's data")
	}
}

// A caller that goes away kills no clone; a second caller finds it.
func TestCloneOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	from, snapshot := snapped(t, 4, enginetest.Options{})
	v := into(t, from)
	resume := from.Replicas[0].PauseAgent()
	for i := range v.Replicas {
		// A call that its caller leaves after a second.
		err := raw(t, v, i).CloneSnapshot(from.Replicas[0].Addr, from.Name, snapshot, false, 30, 1)
		if err == nil {
			t.Error("the call was answered before the clone's end")
		}
	}
	for _, s := range clones(t, v, "both are known", func(l []engine.ReplicaClone) bool { return l[0].Cloning && l[1].Cloning }) {
		if s.State != engine.StateInProgress || s.Snapshot != snapshot || s.From != from.Replicas[0].Addr || s.Error != "" {
			t.Errorf("a running clone says %+v", s)
		}
	}
	resume()
	cloned(t, v)
	list, err := open(from).Snapshots(within(t, limit))
	must(t, err)
	_, err = open(v).CheckClone(within(t, limit), address(from), engine.CloneStarted{
		Snapshot: snapshot, Created: list[snapshot].Created, From: from.Replicas[0].Addr,
	})
	must(t, err)
}

// A snapshot that is older than its volume's expansion is cloned into the size
// that the source has now, and reads as zeros beyond its own.
func TestCloneOfSnapshotBeforeExpansion(t *testing.T) {
	t.Parallel()
	const blocks, more = 32, 8
	from, snapshot := snapped(t, blocks, enginetest.Options{})
	from.Detach()
	from.Attach(false) // the socket front end cannot be expanded
	must(t, from.Client().VolumeExpand(from.SizeBytes+more*block))
	enginetest.Eventually(t, limit, "the volume is expanded", func() bool {
		info, err := open(from).Info(within(t, limit))
		must(t, err)
		return info.SizeBytes > from.SizeBytes
	})
	from.Detach()
	from.SizeBytes += more * block
	from.Attach(true)
	from.Device().WriteBlocks(8, blocks-2, more)

	v := enginetest.Start(t, enginetest.Options{SizeBytes: from.SizeBytes, NoFrontend: true})
	started := startClone(t, v, from, snapshot)
	cloned(t, v)
	_, err := open(v).CheckClone(within(t, limit), address(from), started)
	must(t, err)
	v.Detach()
	v.Attach(true)
	for b := range blocks + more {
		want := make([]byte, block)
		if b < blocks {
			want = enginetest.Block(7, b)
		}
		if !bytes.Equal(v.Device().Read(int64(b)*block, block), want) {
			t.Errorf("block %d is not the snapshot's", b)
		}
	}
}
