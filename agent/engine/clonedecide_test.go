package engine

import (
	"errors"
	"testing"

	"github.com/longhorn/longhorn-engine/pkg/types"
)

func TestSameImage(t *testing.T) {
	const image = "/host/disk-1/backing-images/debian-4f3a/backing"
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{image, image, true},
		{image, "/host/disk-2/backing-images/debian-4f3a/backing", true},
		{image, "/host/disk-1/backing-images/debian-77b1/backing", false},
		{image, "/host/disk-1/backing-images/debian-4f3a/other", false},
		{image, "", false},
		{"", image, false},
	} {
		if got := sameImage(tc.a, tc.b); got != tc.want {
			t.Errorf("sameImage(%q, %q) = %v", tc.a, tc.b, got)
		}
	}
}

func TestReplicaCloneProves(t *testing.T) {
	c := CloneStarted{Snapshot: "s", Created: "t", From: "a:1"}
	good := ReplicaClone{Mode: ModeRW, Snapshot: "s", From: "a:1", State: StateComplete, Progress: 100}
	for name, change := range map[string]func(*ReplicaClone){
		"all as it should be": nil,
		"given up":            func(r *ReplicaClone) { r.Mode = ModeERR },
		"running":             func(r *ReplicaClone) { r.Cloning = true },
		"in progress":         func(r *ReplicaClone) { r.State = StateInProgress },
		"no memory":           func(r *ReplicaClone) { *r = ReplicaClone{Mode: ModeRW} },
		"unreachable":         func(r *ReplicaClone) { r.State = StateUnreachable },
		"asked twice":         func(r *ReplicaClone) { r.Error = "replica is cloning" },
		"another snapshot":    func(r *ReplicaClone) { r.Snapshot = "other" },
		"another source":      func(r *ReplicaClone) { r.From = "b:1" },
	} {
		r := good
		if change != nil {
			change(&r)
		}
		if err := r.proves(c); (err == nil) != (change == nil) || err != nil && !errors.Is(err, ErrNotCloned) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHoldsOnly(t *testing.T) {
	edit := func(info *types.ReplicaInfo, file string, f func(*types.DiskInfo)) *types.ReplicaInfo {
		d := info.Disks[file]
		f(&d)
		info.Disks[file] = d
		return info
	}
	busy, imaged := chainOf(5), chainOf(5)
	busy.Rebuilding = true
	imaged.BackingFile = "/images/base.raw"
	imaged.Disks[imaged.BackingFile] = types.DiskInfo{Size: "77"}
	for name, tc := range map[string]struct {
		info *types.ReplicaInfo
		ok   bool
	}{
		"the snapshot":      {chainOf(5), true},
		"over an image":     {imaged, true},
		"nothing":           {chainOf(), false},
		"one more snapshot": {chainOf(5, 1), false},
		"rebuilding":        {busy, false},
		"written to":        {edit(chainOf(5), "volume-head-001.img", func(d *types.DiskInfo) { d.Size = "4096" }), false},
		"on its way out":    {edit(chainOf(5), "volume-snap-s0.img", func(d *types.DiskInfo) { d.Removed = true }), false},
		"not in the chain":  {edit(chainOf(5), "volume-snap-s0.img", func(d *types.DiskInfo) { d.Children = nil }), false},
	} {
		err := holdsOnly(view{replica: Replica{Address: "a"}, value: tc.info}, "s0")
		if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrNotCloned) {
			t.Errorf("%s: %v, want ok %v", name, err, tc.ok)
		}
	}
	if holdsOnly(view{value: chainOf(5)}, "other") == nil {
		t.Error("another snapshot passes")
	}
}
