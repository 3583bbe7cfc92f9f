package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/longhorn/longhorn-engine/pkg/types"
	pkgerrors "github.com/pkg/errors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestClassify(t *testing.T) {
	wrapped := func(c codes.Code, msg string) error {
		return pkgerrors.Wrapf(status.Error(c, msg), "failed to get volume")
	}
	for _, tc := range []struct {
		name        string
		err         error
		unavailable bool
		text        string
	}{
		{"refused connection", wrapped(codes.Unavailable, "connection refused"), true, "not available: connection refused"},
		{"client's own timeout", wrapped(codes.DeadlineExceeded, "too late"), true, "not available: too late"},
		{"other volume's engine", wrapped(codes.FailedPrecondition, "incorrect volume name"), true, "not available: incorrect volume name"},
		{"the engine says no", wrapped(codes.Unknown, "snapshot x is already existing"), false, "snapshot x is already existing"},
		{"no gRPC error", errors.New("bad address"), false, "bad address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := classify(tc.err)
			if errors.Is(got, ErrUnavailable) != tc.unavailable || got.Error() != tc.text {
				t.Errorf("classify = %q (unavailable %v), want %q (%v)",
					got, errors.Is(got, ErrUnavailable), tc.text, tc.unavailable)
			}
			if !errors.Is(got, tc.err) {
				t.Error("the original error is lost")
			}
		})
	}
	if classify(nil) != nil {
		t.Error("no error became one")
	}
}

func TestEnded(t *testing.T) {
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if err := ended(late); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("passed deadline: %v, want ErrUnavailable and DeadlineExceeded", err)
	}
	fenced := errors.New("fenced")
	lost, stop := context.WithCancelCause(t.Context())
	stop(fenced)
	if err := ended(lost); !errors.Is(err, fenced) || errors.Is(err, ErrUnavailable) {
		t.Errorf("cancelled: %v, want its cause alone", err)
	}
}

func TestChooseBackup(t *testing.T) {
	type said = answer[*BackupStatus]
	rw, gone := Replica{Address: "a", Mode: ModeRW}, Replica{Address: "b", Mode: ModeERR}
	silent := fmt.Errorf("%w: refused", ErrUnavailable)
	running, failed := &BackupStatus{State: StateInProgress}, &BackupStatus{State: StateError}
	for _, tc := range []struct {
		name    string
		answers []said
		want    *BackupStatus
		err     error
	}{
		{"nobody knows it", []said{{replica: rw}, {replica: rw}}, nil, nil},
		{"one knows it", []said{{replica: rw}, {replica: rw, value: running}}, running, nil},
		{"one knows it, one is silent", []said{{replica: rw, err: silent}, {replica: rw, value: running}}, running, nil},
		{"nobody knows it, one is silent", []said{{replica: rw, err: silent}, {replica: rw}}, nil, ErrUnavailable},
		{"the silent one was given up", []said{{replica: gone, err: silent}, {replica: rw}}, nil, nil},
		{"the one given up knows it", []said{{replica: gone, value: running}, {replica: rw}}, running, nil},
		{"a failed start on one, running on another", []said{{replica: rw, value: failed}, {replica: rw, value: running}}, running, nil},
		{"running on one, a failed start on another", []said{{replica: rw, value: running}, {replica: rw, value: failed}}, running, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := chooseBackup(tc.answers)
			if got != tc.want || !errors.Is(err, tc.err) || (tc.err == nil) != (err == nil) {
				t.Errorf("chooseBackup = %v, %v; want %v, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestUnknownBackup(t *testing.T) {
	for msg, want := range map[string]bool{
		"backup not found b1":             true,
		"backup not found b2":             false,
		"bad request: empty backup name":  false,
		"couldn't get snapshot name":      false,
		"connection error: backup server": false,
	} {
		if got := unknownBackup(status.Error(codes.Unknown, msg), "b1"); got != want {
			t.Errorf("unknownBackup(%q) = %v, want %v", msg, got, want)
		}
	}
	if unknownBackup(nil, "b1") {
		t.Error("no error counts as unknown")
	}
}

// chainOf is a replica with snapshots of the given sizes, oldest first, and an
// empty head.
func chainOf(sizes ...int64) *types.ReplicaInfo {
	info := &types.ReplicaInfo{Disks: map[string]types.DiskInfo{}}
	parent := ""
	for i, size := range sizes {
		file := fmt.Sprintf("volume-snap-s%d.img", i)
		info.Disks[file] = types.DiskInfo{
			Name: file, Parent: parent, UserCreated: true, Created: "t", Size: fmt.Sprint(size),
			Children: map[string]bool{fmt.Sprintf("volume-snap-s%d.img", i+1): true},
		}
		parent = file
	}
	head := fmt.Sprintf("volume-head-%03d.img", len(sizes))
	if len(sizes) > 0 {
		last := info.Disks[parent]
		last.Children = map[string]bool{head: true}
		info.Disks[parent] = last
	}
	info.Disks[head] = types.DiskInfo{Name: head, Parent: parent, Size: "0"}
	return info
}

func parsed(t *testing.T, replica string, info *types.ReplicaInfo) chain {
	t.Helper()
	c, err := parseChain(replica, info)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDelta(t *testing.T) {
	c := parsed(t, "a", chainOf(10<<20, 3<<20, 1))
	for _, tc := range []struct {
		snapshot, base string
		want           int64
		missing        bool
	}{
		{"s0", "", 10 << 20, false},
		{"s1", "s0", 4 << 20, false}, // 3 MiB are two blocks
		{"s2", "s0", 4 << 20, false},
		{"s2", "s1", 2 << 20, false},
		{"s2", "", 14 << 20, false},
		{"s1", "s1", 0, false},
		{"s3", "", 0, true},
		{"s0", "s1", 0, true}, // the base is above
		{"s1", "gone", 0, true},
	} {
		got, err := c.delta(tc.snapshot, tc.base)
		if got != tc.want || errors.Is(err, ErrSnapshotMissing) != tc.missing || (err != nil) != tc.missing {
			t.Errorf("delta(%q, %q) = %d, %v; want %d, missing %v", tc.snapshot, tc.base, got, err, tc.want, tc.missing)
		}
	}
}

func TestDeltaOfBrokenChainEnds(t *testing.T) {
	info := chainOf(1, 1)
	d := info.Disks["volume-snap-s0.img"]
	d.Parent = "volume-snap-s1.img"
	info.Disks["volume-snap-s0.img"] = d
	if _, err := parsed(t, "a", info).delta("s1", ""); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("parents in a circle: %v", err)
	}
}

func TestParseChainLeavesBackingImageOut(t *testing.T) {
	info := chainOf(5)
	info.BackingFile = "/images/base.raw"
	info.Disks[info.BackingFile] = types.DiskInfo{Name: info.BackingFile, Size: "77"}
	d := info.Disks["volume-snap-s0.img"]
	d.Parent = info.BackingFile
	info.Disks["volume-snap-s0.img"] = d
	c := parsed(t, "a", info)
	if len(c.snapshots) != 1 || c.snapshots["s0"].Parent != "" || c.heads != 1 {
		t.Errorf("chain over a backing image is %+v", c)
	}
}

// A replica that is reverted lists a head that is gone by then.
func TestParseChainOfAReplicaThatChanges(t *testing.T) {
	info := chainOf(5)
	for file, d := range info.Disks {
		d.Size = "-1"
		info.Disks[file] = d
	}
	if _, err := parseChain("a", info); !errors.Is(err, ErrUnavailable) {
		t.Errorf("files that are gone: %v", err)
	}
}

func TestMerge(t *testing.T) {
	change := func(info *types.ReplicaInfo, snapshot string, f func(*types.DiskInfo)) *types.ReplicaInfo {
		d := info.Disks["volume-snap-"+snapshot+".img"]
		f(&d)
		info.Disks["volume-snap-"+snapshot+".img"] = d
		return info
	}
	without := func(info *types.ReplicaInfo, snapshot string) *types.ReplicaInfo {
		delete(info.Disks, "volume-snap-"+snapshot+".img")
		return info
	}
	removed := func(d *types.DiskInfo) { d.Removed = true }
	for _, tc := range []struct {
		name string
		a, b *types.ReplicaInfo
		want string // part of the error; empty for none
	}{
		{"the same", chainOf(1, 2), chainOf(1, 2), ""},
		{"other sizes", chainOf(1, 2), chainOf(8192, 2), ""},
		{"one lacks a snapshot", chainOf(1, 2), without(chainOf(1, 2), "s1"), "s1 is not on replica b"},
		{"the first lacks a snapshot", without(chainOf(1, 2), "s0"), chainOf(1, 2), "s0 is not on replica a"},
		{"one has removed it", change(chainOf(1, 2), "s0", removed), without(chainOf(1, 2), "s0"), ""},
		{"cut at another time", chainOf(1), change(chainOf(1), "s0", func(d *types.DiskInfo) { d.Created = "u" }), "is not the one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := merge([]chain{parsed(t, "a", tc.a), parsed(t, "b", tc.b)})
			if tc.want == "" {
				if err != nil || len(got) == 0 {
					t.Fatalf("merge = %v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("merge: %v, want an error with %q", err, tc.want)
			}
		})
	}
	got, err := merge([]chain{parsed(t, "a", chainOf(1)), parsed(t, "b", change(chainOf(9), "s0", removed))})
	if s := got["s0"]; err != nil || !s.Removed || s.SizeBytes != 9 || len(s.Children) != 1 || s.Children[0] != Head {
		t.Errorf("merged snapshot is %+v, %v; want removed, the larger size, the head as child", s, err)
	}
}

func TestEmptyReplica(t *testing.T) {
	written := chainOf()
	head := written.Disks["volume-head-000.img"]
	head.Size = "4096"
	written.Disks["volume-head-000.img"] = head
	twoHeads := chainOf()
	twoHeads.Disks["volume-head-001.img"] = types.DiskInfo{Size: "0"}
	busy := chainOf()
	busy.Rebuilding = true
	for name, tc := range map[string]struct {
		info  *types.ReplicaInfo
		fresh bool
	}{
		"one empty head": {chainOf(), true},
		"a snapshot":     {chainOf(0), false},
		"one sector":     {written, false},
		"two heads":      {twoHeads, false},
		"no head":        {&types.ReplicaInfo{}, false},
		"rebuilding":     {busy, false},
	} {
		err := emptyReplica(view{replica: Replica{Address: "a"}, value: tc.info})
		if (err == nil) != tc.fresh || !tc.fresh && !errors.Is(err, ErrNotFresh) {
			t.Errorf("%s: %v, want fresh %v", name, err, tc.fresh)
		}
	}
}

func TestBackupRequestCheck(t *testing.T) {
	good := BackupRequest{Snapshot: "s", Backup: "b", TargetURL: "vfs:///x"}
	for _, tc := range []struct {
		name   string
		change func(*BackupRequest)
		ok     bool
	}{
		{"least", func(*BackupRequest) {}, true},
		{"all", func(r *BackupRequest) {
			r.Compression, r.Threads, r.Labels = "none", 5, map[string]string{"a/b": "c"}
			r.BackingImage, r.BackingImageChecksum = "img", "sum"
		}, true},
		{"the live data", func(r *BackupRequest) { r.Snapshot = Head }, false},
		{"no backup name", func(r *BackupRequest) { r.Backup = "" }, false},
		{"no target", func(r *BackupRequest) { r.TargetURL = "" }, false},
		{"unknown compression", func(r *BackupRequest) { r.Compression = "zstd" }, false},
		{"empty label", func(r *BackupRequest) { r.Labels = map[string]string{"a": ""} }, false},
		{"image without checksum", func(r *BackupRequest) { r.BackingImage = "img" }, false},
	} {
		r := good
		tc.change(&r)
		got, err := r.check()
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v, want ok %v", tc.name, err, tc.ok)
		}
		if tc.ok && (got.Threads < 1 || got.Compression == "") {
			t.Errorf("%s: %+v has no threads or compression", tc.name, got)
		}
	}
	if got := fmt.Sprint(labelList(map[string]string{"b": "2", "a": "1"})); got != "[a=1 b=2]" {
		t.Errorf("labels are %s", got)
	}
}

func TestRestoreRequestCheck(t *testing.T) {
	for file, ok := range map[string]bool{
		"volume-snap-x.img": true, "volume-snap-.img": false, "": false, "x.img": false,
		"volume-snap-../x.img": false, "volume-head-000.img": false,
	} {
		if err := (RestoreRequest{BackupURL: "u", File: file}).check(); (err == nil) != ok {
			t.Errorf("file %q: %v, want ok %v", file, err, ok)
		}
	}
	if (RestoreRequest{File: "volume-snap-x.img"}).check() == nil {
		t.Error("no backup URL is accepted")
	}
}

func TestRefusedCut(t *testing.T) {
	for msg, want := range map[string]error{
		"snapshot s is already existing":                                        ErrExists,
		"snapshot count usage 250 is equal or larger than snapshotMaxCount 250": ErrSnapshotLimit,
		"snapshot free space 1 is not enough for head file 4096":                ErrSnapshotLimit,
		"cannot get an valid result for snapshot usage":                         nil,
	} {
		err := refusedCut(classify(status.Error(codes.Unknown, msg)))
		for _, sentinel := range []error{ErrExists, ErrSnapshotLimit} {
			if errors.Is(err, sentinel) != (want == sentinel) {
				t.Errorf("%q: %v, want %v", msg, err, want)
			}
		}
	}
	if refusedCut(nil) != nil {
		t.Error("no error became one")
	}
}

// A branch beside the head's, left by a revert, does not count.
func TestChainBelow(t *testing.T) {
	for want := range 3 {
		if got := parsed(t, "a", chainOf(make([]int64, want)...)).below(); got != want {
			t.Errorf("below a head of %d snapshots are %d", want, got)
		}
	}
	info := chainOf(1, 1)
	info.Disks["volume-snap-beside.img"] = types.DiskInfo{Name: "volume-snap-beside.img", Parent: "volume-snap-s0.img", Size: "1"}
	if got := parsed(t, "a", info).below(); got != 2 {
		t.Errorf("with a branch beside it: %d, want 2", got)
	}
}

func TestSnapshotRoom(t *testing.T) {
	for u, want := range map[SnapshotUsage]int{
		{Count: 0, Max: 250, Chain: 0}:     249,
		{Count: 240, Max: 250, Chain: 240}: 9,
		{Count: 10, Max: 250, Chain: 249}:  0,
		{Count: 9, Max: 3, Chain: 9}:       0,
		{Count: 1, Max: 3, Chain: 240}:     2,
	} {
		if got := u.Room(); got != want {
			t.Errorf("Room of %+v is %d, want %d", u, got, want)
		}
	}
}
