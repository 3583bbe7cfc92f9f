package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/longhorn/longhorn-engine/pkg/types"
	diskutil "github.com/longhorn/longhorn-engine/pkg/util/disk"
)

// blockBytes is the size of a block in a Longhorn backup (backupstore's
// DEFAULT_BLOCK_SIZE).
const blockBytes = 2 << 20

// gone is the size that a replica gives for a file which is not there any more (the
// engine's util.GetFileActualSize): it is being reverted or cloned into.
const gone = "-1"

// chain is the disk files of one replica.
type chain struct {
	replica string
	// image is the path of the backing image below it; empty without one.
	image     string
	snapshots map[string]Snapshot
	// heads counts the live files; headBytes is what they take.
	heads     int
	headBytes int64
}

// parseChain reads a replica's disk files. A backing image is listed by the
// replica among them, and is no snapshot.
func parseChain(replica string, info *types.ReplicaInfo) (chain, error) {
	c := chain{replica: replica, image: info.BackingFile, snapshots: map[string]Snapshot{}}
	for file, d := range info.Disks {
		if file == info.BackingFile {
			continue
		}
		if d.Size == gone {
			return chain{}, fmt.Errorf("%w: replica %s is changing its files: %s went while it listed them", ErrUnavailable, replica, file)
		}
		size, err := strconv.ParseInt(d.Size, 10, 64)
		if err != nil || size < 0 {
			return chain{}, fmt.Errorf("replica %s: the size %q of %s is not a number of bytes", replica, d.Size, file)
		}
		if diskutil.IsHeadDisk(file) {
			c.heads++
			c.headBytes += size
			continue
		}
		name, err := snapshotName(file)
		if err != nil {
			return chain{}, fmt.Errorf("replica %s: %w", replica, err)
		}
		s := Snapshot{
			Name: name, Removed: d.Removed, UserCreated: d.UserCreated,
			SizeBytes: size, Created: d.Created, Labels: d.Labels,
		}
		if d.Parent != "" && d.Parent != info.BackingFile {
			if s.Parent, err = snapshotName(d.Parent); err != nil {
				return chain{}, fmt.Errorf("replica %s: parent of %s: %w", replica, file, err)
			}
		}
		for child := range d.Children {
			if s.Children, err = appendChild(s.Children, child); err != nil {
				return chain{}, fmt.Errorf("replica %s: child of %s: %w", replica, file, err)
			}
		}
		slices.Sort(s.Children)
		c.snapshots[name] = s
	}
	return c, nil
}

// chains reads the disk files of all the replicas.
func (e *Engine) chains(ctx context.Context, replicas []Replica) ([]chain, error) {
	views := e.views(ctx, replicas)
	if err := joined(views); err != nil {
		return nil, err
	}
	var out []chain
	for _, v := range views {
		c, err := parseChain(v.replica.Address, v.value)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func appendChild(children []string, file string) ([]string, error) {
	if diskutil.IsHeadDisk(file) {
		return append(children, Head), nil
	}
	name, err := snapshotName(file)
	if err != nil {
		return nil, err
	}
	return append(children, name), nil
}

func snapshotName(file string) (string, error) {
	return diskutil.GetSnapshotNameFromDiskName(file)
}

// DeltaBytes is about how much a backup of snapshot has to read when base is
// its predecessor: what the files take that lie between the two, base's own
// excluded; all up to snapshot when base is empty. It is for progress only: a
// file counts what it takes on disk, while a backup moves whole 2 MiB blocks,
// compressed and without those that the target has. The sum is rounded up to
// such a block and is at most the volume's size.
//
// ErrSnapshotMissing when snapshot is not there or base is not below it.
func (e *Engine) DeltaBytes(ctx context.Context, snapshot, base string) (int64, error) {
	n, err := e.deltaBytes(ctx, snapshot, base)
	return n, e.failed("measuring snapshot "+snapshot, err)
}

func (e *Engine) deltaBytes(ctx context.Context, snapshot, base string) (int64, error) {
	info, err := e.info(ctx)
	if err != nil {
		return 0, err
	}
	rw, err := info.inUse()
	if err != nil {
		return 0, err
	}
	chains, err := e.chains(ctx, rw[:1])
	if err != nil {
		return 0, err
	}
	n, err := chains[0].delta(snapshot, base)
	return min(n, info.SizeBytes), err
}

// delta sums the files from snapshot down to base, which is excluded.
func (c chain) delta(snapshot, base string) (int64, error) {
	var sum int64
	for name, steps := snapshot, 0; name != base; steps++ {
		s, ok := c.snapshots[name]
		if !ok && name == "" {
			return 0, fmt.Errorf("%w: %s is not below %s", ErrSnapshotMissing, base, snapshot)
		}
		if !ok {
			return 0, fmt.Errorf("%w: %s", ErrSnapshotMissing, name)
		}
		if steps > len(c.snapshots) {
			return 0, fmt.Errorf("replica %s: the parents of snapshot %s go round in a circle", c.replica, snapshot)
		}
		sum += s.SizeBytes
		name = s.Parent
	}
	return (sum + blockBytes - 1) / blockBytes * blockBytes, nil
}
