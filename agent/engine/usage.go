package engine

import (
	"context"
	"fmt"
	"slices"
)

// ChainMax is how many snapshots may lie below a head. Engine v1.8.0 cuts more
// when it is asked to, and then cannot open the replica any more: its limit of
// 250 files (maximumChainLength in pkg/replica) includes the head, while the
// default of its count of snapshots is 250 too and leaves out those that are
// marked as removed (Longhorn's issue 10308).
const ChainMax = 249

// SnapshotUsage is how many snapshots a volume has of those that it may have,
// on the replica that has most.
type SnapshotUsage struct {
	// Count is the engine's own count: snapshots that nobody has marked as
	// removed, the engine's own and, as if it were one, a backing image
	// included.
	Count int
	// Max is the limit of Count, as in Info.
	Max int
	// Chain is how many snapshots lie below the head, those included that are
	// marked as removed and not folded away yet. Its limit is ChainMax.
	Chain int
}

// Room is how many snapshots may still be cut. A rebuild of a replica takes
// one as well, so a careful caller leaves some.
func (u SnapshotUsage) Room() int { return max(0, min(u.Max-u.Count, ChainMax-u.Chain)) }

// SnapshotUsage asks the replicas in use. One that does not answer is left
// out, as the engine does; it is an error when none answers.
func (e *Engine) SnapshotUsage(ctx context.Context) (SnapshotUsage, error) {
	info, err := e.info(ctx)
	var u SnapshotUsage
	if err == nil {
		u, err = e.snapshotUsage(ctx, info)
	}
	return u, e.failed("counting snapshots", err)
}

func (e *Engine) snapshotUsage(ctx context.Context, info Info) (SnapshotUsage, error) {
	rw, err := info.inUse()
	if err != nil {
		return SnapshotUsage{}, err
	}
	limited, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	views := e.views(limited, rw)
	u := SnapshotUsage{Max: info.SnapshotMax}
	silent := 0
	for _, v := range views {
		if v.err != nil {
			silent++
			continue
		}
		c, err := parseChain(v.replica.Address, v.value)
		if err != nil {
			return SnapshotUsage{}, err
		}
		u.Count = max(u.Count, v.value.SnapshotCountUsage)
		u.Chain = max(u.Chain, c.below())
	}
	if silent == len(views) {
		return SnapshotUsage{}, joined(views)
	}
	return u, nil
}

// below counts the snapshots from the head down. Others may stand beside them
// after a revert.
func (c chain) below() int {
	n := 0
	for name := c.top(); name != "" && n < len(c.snapshots); name = c.snapshots[name].Parent {
		n++
	}
	return n
}

// top is the snapshot right below the head; empty without one.
func (c chain) top() string {
	for name, s := range c.snapshots {
		if slices.Contains(s.Children, Head) {
			return name
		}
	}
	return ""
}

// roomToCut is nil when the volume may have one more snapshot.
func (e *Engine) roomToCut(ctx context.Context, info Info) error {
	u, err := e.snapshotUsage(ctx, info)
	if err == nil && u.Room() == 0 {
		err = fmt.Errorf("%w: %d of %d, and %d of %d in the chain: remove some and purge", ErrSnapshotLimit, u.Count, u.Max, u.Chain, ChainMax)
	}
	return err
}
