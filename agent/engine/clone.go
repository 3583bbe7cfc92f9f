package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
)

const (
	// cloneRequestSeconds bounds each request by which a replica sends data to
	// another: Longhorn's default of replica-file-sync-http-client-timeout.
	// With 0 there would be no bound.
	cloneRequestSeconds = 30
	// cloneCallSeconds bounds the call that starts a clone. The sync agent
	// answers it when the clone has ended, and does not stop when nobody
	// waits any longer; its status tells the rest.
	cloneCallSeconds = 60
	// clonePoll is how often a sync agent is asked whether it has begun.
	clonePoll = 50 * time.Millisecond
)

// CloneRequest asks for a fresh volume to be filled from a snapshot of another
// volume.
type CloneRequest struct {
	// Source is the engine of the volume that has the snapshot. It must stay
	// attached until the clone has ended, may be written to meanwhile, and the
	// snapshot must not be removed.
	Source Address
	// Snapshot of the source. The clone has a snapshot of the same name.
	Snapshot string
}

// CloneStarted tells what is being copied. CheckClone compares with it.
type CloneStarted struct {
	Snapshot string
	// Created is the time of the cut, as the source says it.
	Created string
	// From is the address ("ip:port") of the source's replica that sends.
	From string
}

func (e *Engine) checkRequest(req CloneRequest) error {
	if req.Snapshot == "" || req.Snapshot == Head {
		return fmt.Errorf("%q is no snapshot's name", req.Snapshot)
	}
	if req.Source.Volume == e.addr.Volume {
		return errors.New("a volume cannot be cloned into itself")
	}
	return nil
}

// StartClone makes every replica copy the snapshot, each by itself and all
// from the source's first replica in use, and returns when all copies run or
// have ended. It refuses with ErrFrontendUp and ErrNotFresh as StartRestore
// does, with ErrSize (the source's present size counts, also for a snapshot
// from before its expansion) and ErrBackingImage when the two do not match, and
// with ErrSnapshotMissing when the source's replica does not hold the snapshot
// or is removing it.
//
// A volume is cloned into once. The engine does not refuse a second clone: it
// declares the first one failed while that runs on. An error after the checks
// names each replica that failed; others may have started, so the volume is
// spent. After ErrUnavailable the clone may run: ask CloneStatus.
func (e *Engine) StartClone(ctx context.Context, req CloneRequest) (CloneStarted, error) {
	started, err := e.startClone(ctx, req)
	return started, e.failed(fmt.Sprintf("cloning snapshot %s of volume %s", req.Snapshot, req.Source.Volume), err)
}

func (e *Engine) startClone(ctx context.Context, req CloneRequest) (CloneStarted, error) {
	if err := e.checkRequest(req); err != nil {
		return CloneStarted{}, err
	}
	replicas, err := e.freshReplicas(ctx)
	if err != nil {
		return CloneStarted{}, err
	}
	started, err := e.matchSource(ctx, replicas, req)
	if err != nil {
		return CloneStarted{}, err
	}
	err = joined(ask(replicas, func(r Replica) (struct{}, error) {
		return struct{}{}, e.cloneOn(ctx, r, req.Source.Volume, started)
	}))
	return started, err
}

// matchSource finds the snapshot and compares what the engine does not: a
// clone into a smaller volume is cut off, and a clone holds only the difference
// to the source's backing image.
func (e *Engine) matchSource(ctx context.Context, replicas []Replica, req CloneRequest) (CloneStarted, error) {
	source := Open(req.Source)
	from, held, err := source.replicaWith(ctx, req.Snapshot)
	if err != nil {
		return CloneStarted{}, fmt.Errorf("source volume: %w", err)
	}
	theirs, err := source.info(ctx)
	if err != nil {
		return CloneStarted{}, fmt.Errorf("source volume: %w", err)
	}
	ours, err := e.info(ctx)
	if err != nil {
		return CloneStarted{}, err
	}
	if ours.SizeBytes != theirs.SizeBytes {
		return CloneStarted{}, fmt.Errorf("%w: it has %d bytes, the source %d", ErrSize, ours.SizeBytes, theirs.SizeBytes)
	}
	chains, err := e.chains(ctx, replicas)
	if err != nil {
		return CloneStarted{}, err
	}
	for _, c := range chains {
		if !sameImage(c.image, held.image) {
			return CloneStarted{}, fmt.Errorf("%w: replica %s is over %s, the source over %s", ErrBackingImage, c.replica, orNone(c.image), orNone(held.image))
		}
	}
	return CloneStarted{Snapshot: req.Snapshot, Created: held.snapshots[req.Snapshot].Created, From: from.Address}, nil
}

// sameImage compares the paths of two replicas' backing images. Longhorn puts
// an image at DISK/backing-images/NAME-UUID/backing; disks differ between
// replicas.
func sameImage(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	return filepath.Base(a) == filepath.Base(b) && filepath.Base(filepath.Dir(a)) == filepath.Base(filepath.Dir(b))
}

func orNone(image string) string {
	if image == "" {
		return "no image"
	}
	return image
}

// cloneOn starts the copy on one replica and waits until its sync agent knows
// of it. What the starting call returns is no proof: engine v1.8.0 answers
// without an error when a clone has failed.
func (e *Engine) cloneOn(ctx context.Context, r Replica, sourceVolume string, c CloneStarted) error {
	ended := make(chan error, 1)
	go func() {
		_, err := replicaCall(ctx, e, r, func(client *replicaclient.ReplicaClient) (struct{}, error) {
			return struct{}{}, client.CloneSnapshot(c.From, sourceVolume, c.Snapshot, false, cloneRequestSeconds, cloneCallSeconds)
		})
		ended <- err
	}()
	for {
		var err error
		over := false
		select {
		case err = <-ended:
			over = true
		case <-time.After(clonePoll):
		}
		s, statusErr := e.cloneStatusOn(ctx, r)
		switch {
		case statusErr == nil && s.State == StateError:
			return errors.New(s.Error)
		case statusErr == nil && s.State != "":
			return nil
		case over && err != nil:
			return err
		case over && statusErr != nil:
			return statusErr
		case over:
			return fmt.Errorf("%w: the sync agent restarted during the clone", ErrUnavailable)
		}
	}
}
