package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
	"github.com/longhorn/longhorn-engine/pkg/types"
	"github.com/longhorn/types/pkg/generated/enginerpc"
)

// Purging is polled from purgePollMin up to purgePollMax apart, and given up
// after purgeLimit when the caller's ctx has no earlier deadline: folding a
// snapshot rewrites up to its whole size.
const (
	purgePollMin = 50 * time.Millisecond
	purgePollMax = time.Second
	purgeLimit   = 24 * time.Hour
)

// RemoveSnapshot marks a snapshot as removed on every replica in use. Purge
// frees its space. A snapshot that is not there is fine. ErrRebuilding while a
// replica is being rebuilt, since the rebuild may be copying it.
func (e *Engine) RemoveSnapshot(ctx context.Context, name string) error {
	return e.failed("removing snapshot "+name, e.removeSnapshot(ctx, name))
}

func (e *Engine) removeSnapshot(ctx context.Context, name string) error {
	if name == "" || name == Head {
		return fmt.Errorf("%q is no snapshot's name", name)
	}
	rw, err := e.steady(ctx)
	if err != nil {
		return err
	}
	marked := ask(rw, func(r Replica) (struct{}, error) {
		return replicaCall(ctx, e, r, func(c *replicaclient.ReplicaClient) (struct{}, error) {
			if err := c.MarkDiskAsRemoved(name); err != nil {
				return struct{}{}, err
			}
			// A checksum job would keep the file open and fail on the fold.
			return struct{}{}, c.SnapshotHashCancel(name)
		})
	})
	return joined(marked)
}

// Purge folds away every snapshot that is marked as removed, on all replicas
// in use, and waits until that is done. Snapshots that nobody asked for (the
// engine's own) go too. One that lies right below the head is only emptied of
// what the head covers; a later purge takes it. A purge that is already
// running is waited for and followed by one of our own, so that what was
// marked before the call is covered.
func (e *Engine) Purge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, purgeLimit)
	defer cancel()
	rw, err := e.steady(ctx)
	if err == nil {
		err = joined(ask(rw, func(r Replica) (struct{}, error) {
			return struct{}{}, e.purgeReplica(ctx, r)
		}))
	}
	return e.failed("purging snapshots", err)
}

// steady lists the replicas for a change that must reach all of them: at
// least one in use and none being rebuilt. Replicas that the engine has given
// up are left out; Longhorn rebuilds or deletes them.
func (e *Engine) steady(ctx context.Context) ([]Replica, error) {
	info, err := e.info(ctx)
	if err != nil {
		return nil, err
	}
	if wo := info.inMode(ModeWO); len(wo) > 0 {
		return nil, fmt.Errorf("%w: replica %s", ErrRebuilding, wo[0].Address)
	}
	rw, err := info.inUse()
	if err != nil {
		return nil, err
	}
	return rw, notRebuilding(e.views(ctx, rw))
}

// purgeReplica runs one purge on one replica to its end.
func (e *Engine) purgeReplica(ctx context.Context, r Replica) error {
	for {
		_, err := replicaCall(ctx, e, r, func(c *replicaclient.ReplicaClient) (struct{}, error) {
			return struct{}{}, c.SnapshotPurge()
		})
		foreign := err != nil && strings.Contains(err.Error(), "is already purging snapshots")
		if err != nil && !foreign {
			return err
		}
		state, err := e.waitPurged(ctx, r)
		switch {
		case err != nil:
			return err
		case foreign:
			continue
		case state.State == string(types.ProcessStateComplete):
			return nil
		case state.Error != "":
			return errors.New(state.Error)
		default:
			return fmt.Errorf("%w: the sync agent restarted during the purge", ErrUnavailable)
		}
	}
}

// waitPurged polls a replica until no purge runs on it.
func (e *Engine) waitPurged(ctx context.Context, r Replica) (*enginerpc.SnapshotPurgeStatusResponse, error) {
	for pause := purgePollMin; ; pause = min(2*pause, purgePollMax) {
		s, err := e.purgeStatus(ctx, r)
		if err != nil || !s.IsPurging {
			return s, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ended(ctx)
		}
	}
}

func (e *Engine) purgeStatus(ctx context.Context, r Replica) (*enginerpc.SnapshotPurgeStatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	return replicaCall(ctx, e, r, (*replicaclient.ReplicaClient).SnapshotPurgeStatus)
}
