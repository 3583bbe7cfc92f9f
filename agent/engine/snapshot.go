package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	ctrlclient "github.com/longhorn/longhorn-engine/pkg/controller/client"
)

// Head is the child that stands for the volume's live data in
// Snapshot.Children.
const Head = "volume-head"

// Snapshot is one engine snapshot.
type Snapshot struct {
	Name string
	// Parent is the next older snapshot; empty for the oldest.
	Parent string
	// Children are the snapshots, or Head, on top of this one, sorted.
	Children []string
	// Removed: marked for removal. Its data stays until a purge has folded it
	// into its child, and as long as that child is the head.
	Removed bool
	// UserCreated: asked for by somebody; false for those that the engine cut
	// for itself, to rebuild a replica say.
	UserCreated bool
	// SizeBytes is what its file takes on the replica where it takes most.
	SizeBytes int64
	// Created is the engine's time of the cut, RFC 3339, to the second.
	Created string
	Labels  map[string]string
}

// CutSnapshot cuts a snapshot of the volume's live data on every replica. The
// engine first syncs the whole machine's page cache, outside of the cut.
//
// It refuses with ErrFrontendDown before the engine is asked (one that loses
// its front end in the moment between still crashes), with ErrSnapshotLimit
// when the volume has no Room, and with ErrExists when the name is in use. After ErrUnavailable the snapshot may exist or still come
// to exist; the name must not be asked for again.
func (e *Engine) CutSnapshot(ctx context.Context, name string, labels map[string]string) error {
	return e.failed("cutting snapshot "+name, e.cutSnapshot(ctx, name, labels))
}

func (e *Engine) cutSnapshot(ctx context.Context, name string, labels map[string]string) error {
	if name == "" || name == Head {
		return fmt.Errorf("%q cannot be a snapshot's name", name)
	}
	info, err := e.info(ctx)
	if err != nil {
		return err
	}
	if !info.FrontendUp {
		return ErrFrontendDown
	}
	if err := e.roomToCut(ctx, info); err != nil {
		return err
	}
	_, err = controllerCall(ctx, e, func(c *ctrlclient.ControllerClient) (string, error) {
		return c.VolumeSnapshot(name, labels, false)
	})
	return refusedCut(err)
}

// refusedCut tells why an engine refused a cut. Its reasons have no gRPC codes
// of their own, only these words.
func refusedCut(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "is already existing"):
		return fmt.Errorf("%w: %w", ErrExists, err)
	case strings.Contains(err.Error(), "is equal or larger than snapshotMaxCount"),
		strings.Contains(err.Error(), "is not enough for head file"):
		return fmt.Errorf("%w: %w", ErrSnapshotLimit, err)
	}
	return err
}

// Snapshots lists the snapshots as every replica in use holds them. A snapshot
// that is not being removed must be on all of them, cut at the same time by
// the same kind of asker; anything else is an error, since what a backup then
// holds would depend on the replica that makes it. While snapshots are being
// removed, replicas are not in step: such a snapshot is listed as long as one
// replica has it.
func (e *Engine) Snapshots(ctx context.Context) (map[string]Snapshot, error) {
	list, err := e.snapshots(ctx)
	return list, e.failed("listing snapshots", err)
}

func (e *Engine) snapshots(ctx context.Context) (map[string]Snapshot, error) {
	info, err := e.info(ctx)
	if err != nil {
		return nil, err
	}
	rw, err := info.inUse()
	if err != nil {
		return nil, err
	}
	chains, err := e.chains(ctx, rw)
	if err != nil {
		return nil, err
	}
	return merge(chains)
}

// merge makes one list of what each replica holds.
func merge(chains []chain) (map[string]Snapshot, error) {
	out := map[string]Snapshot{}
	for _, c := range chains {
		for name, s := range c.snapshots {
			seen, ok := out[name]
			if !ok {
				out[name] = s
				continue
			}
			if seen.Created != s.Created || seen.UserCreated != s.UserCreated {
				return nil, fmt.Errorf("snapshot %s on replica %s (cut %s) is not the one of another replica (cut %s)",
					name, c.replica, s.Created, seen.Created)
			}
			seen.Removed = seen.Removed || s.Removed
			seen.SizeBytes = max(seen.SizeBytes, s.SizeBytes)
			out[name] = seen
		}
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if out[name].Removed {
			continue
		}
		for _, c := range chains {
			if _, ok := c.snapshots[name]; !ok {
				return nil, fmt.Errorf("snapshot %s is not on replica %s, but on another", name, c.replica)
			}
		}
	}
	return out, nil
}
