package engine

import (
	"context"
	"fmt"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
	"github.com/longhorn/types/pkg/generated/enginerpc"
)

// ReplicaClone is what one replica says of its clone.
type ReplicaClone struct {
	// Address is the replica's, "ip:port"; Mode is the engine's word on it.
	Address, Mode string
	// Cloning is also false for a clone that runs and was asked for twice.
	Cloning bool
	// Progress in percent of the volume's size, 0 to 100. Only data counts, so
	// it jumps to 100 at the end when the snapshot does not fill the volume.
	Progress int
	// Snapshot that is or was cloned, From the source's replica.
	Snapshot, From string
	// State is one of the State constants, StateUnreachable, or empty when
	// nothing was cloned since the sync agent started.
	State string
	// Error of the clone, or why the replica is unreachable.
	Error string
}

// CloneStatus asks every replica of the engine, those that it has given up
// included. It is an error only when the engine cannot be asked or none of its
// replicas answers.
//
// StateComplete is not proof (see CheckClone). A source that hangs leaves
// StateInProgress for 24 hours, the engine's own limit: only progress tells.
func (e *Engine) CloneStatus(ctx context.Context) ([]ReplicaClone, error) {
	list, err := e.cloneStatus(ctx)
	return list, e.failed("asking for the clone", err)
}

func (e *Engine) cloneStatus(ctx context.Context) ([]ReplicaClone, error) {
	answers, err := askAll(ctx, e, e.cloneStatusOn)
	if err != nil {
		return nil, err
	}
	out := make([]ReplicaClone, len(answers))
	for i, a := range answers {
		out[i] = ReplicaClone{Address: a.replica.Address, Mode: a.replica.Mode}
		if a.err != nil {
			out[i].State, out[i].Error = StateUnreachable, a.err.Error()
			continue
		}
		out[i].Cloning = a.value.IsCloning
		out[i].Progress = min(max(int(a.value.Progress), 0), 100)
		out[i].Snapshot, out[i].From = a.value.SnapshotName, a.value.FromReplicaAddress
		out[i].State, out[i].Error = a.value.State, a.value.Error
	}
	return out, nil
}

func (e *Engine) cloneStatusOn(ctx context.Context, r Replica) (*enginerpc.SnapshotCloneStatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	return replicaCall(ctx, e, r, (*replicaclient.ReplicaClient).SnapshotCloneStatus)
}

// CheckClone has no error when every replica that the engine lists holds the
// snapshot that StartClone was asked for, and nothing else, and returns what
// each says of it; the caller compares them with those that the volume has.
// ErrNotCloned when one does not, or when the source no longer has that
// snapshot as it was, since a snapshot that is folded away during the copy
// turns into a mixture without an error. ErrFrontendUp when somebody may have
// written to the clone.
//
// It must be asked before the clone is detached, since its sync agents forget
// when they end. The source may have been attached anew.
func (e *Engine) CheckClone(ctx context.Context, source Address, c CloneStarted) ([]ReplicaClone, error) {
	said, err := e.checkClone(ctx, source, c)
	return said, e.failed(fmt.Sprintf("checking the clone of snapshot %s of volume %s", c.Snapshot, source.Volume), err)
}

func (e *Engine) checkClone(ctx context.Context, source Address, c CloneStarted) ([]ReplicaClone, error) {
	info, err := e.info(ctx)
	if err != nil {
		return nil, err
	}
	if info.FrontendUp {
		return nil, ErrFrontendUp
	}
	said, err := e.cloneStatus(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range said {
		if err := s.proves(c); err != nil {
			return said, err
		}
	}
	views := e.views(ctx, info.Replicas)
	if err := joined(views); err != nil {
		return said, err
	}
	for _, v := range views {
		if err := holdsOnly(v, c.Snapshot); err != nil {
			return said, err
		}
	}
	// The source is asked last: a snapshot that is there now, and not on its
	// way out, was there during the whole copy.
	held, err := Open(source).snapshots(ctx)
	if err != nil {
		return said, fmt.Errorf("source volume: %w", err)
	}
	if s, ok := held[c.Snapshot]; !ok || s.Removed || s.Created != c.Created {
		return said, fmt.Errorf("%w: the source no longer has snapshot %s as it was cut at %s", ErrNotCloned, c.Snapshot, c.Created)
	}
	return said, nil
}

// proves is nil when the replica says that it has cloned just this and is in
// use. An error beside StateComplete tells of a second clone that was asked for
// during the first.
func (s ReplicaClone) proves(c CloneStarted) error {
	if s.Mode != ModeRW || s.Cloning || s.State != StateComplete || s.Error != "" || s.Snapshot != c.Snapshot || s.From != c.From {
		return fmt.Errorf("%w: replica %s (%s) says %q of snapshot %q from %q: %q", ErrNotCloned, s.Address, s.Mode, s.State, s.Snapshot, s.From, s.Error)
	}
	return nil
}

// holdsOnly is nil for a replica whose chain is the snapshot below an empty
// head.
func holdsOnly(v view, snapshot string) error {
	if v.value.Rebuilding {
		return fmt.Errorf("%w: %w: replica %s", ErrNotCloned, ErrRebuilding, v.replica.Address)
	}
	c, err := parseChain(v.replica.Address, v.value)
	if err != nil {
		return err
	}
	s, ok := c.snapshots[snapshot]
	alone := ok && len(c.snapshots) == 1 && !s.Removed && s.Parent == "" && len(s.Children) == 1 && s.Children[0] == Head
	if !alone || c.heads != 1 || c.headBytes >= emptyHeadBytes {
		return fmt.Errorf("%w: replica %s holds %d snapshots and %d heads of %d bytes, not just snapshot %s below an empty head",
			ErrNotCloned, v.replica.Address, len(c.snapshots), c.heads, c.headBytes, snapshot)
	}
	return nil
}
