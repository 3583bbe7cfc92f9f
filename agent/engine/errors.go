package engine

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What callers branch on. Every error of this package names the volume and
// what was being done, and wraps one of these where it applies.
var (
	// ErrUnavailable: nobody answered in time, or another volume's engine
	// answered, or a replica was changing its files. Whether a change that was asked
	// for happens is not known.
	ErrUnavailable = errors.New("not available")
	// ErrNoReplica: the engine has no replica that could do it.
	ErrNoReplica = errors.New("no replica")
	// ErrRebuilding: a replica is being rebuilt; wait until it is done.
	ErrRebuilding = errors.New("a replica is being rebuilt")
	// ErrFrontendDown: engine v1.8.0 panics when a snapshot is asked of it
	// without a front end.
	ErrFrontendDown = errors.New("the volume's front end is down, a snapshot would crash the engine")
	// ErrFrontendUp: something may be using the volume.
	ErrFrontendUp = errors.New("the volume's front end is up")
	// ErrExists: the name is in use.
	ErrExists = errors.New("exists already")
	// ErrSnapshotMissing: the snapshot is not on the replica, or on its way out.
	ErrSnapshotMissing = errors.New("no such snapshot")
	// ErrNotFresh: the volume to restore or clone into is not one healthy,
	// empty head on every replica.
	ErrNotFresh = errors.New("the volume is not fresh")
	// ErrSnapshotLimit: the volume has as many snapshots, or as much data in
	// them, as its settings allow. Remove some and purge.
	ErrSnapshotLimit = errors.New("the volume's snapshot limit is reached")
	// ErrSize: source and clone are not of one size.
	ErrSize = errors.New("the sizes differ")
	// ErrBackingImage: source and clone are not over the same backing image.
	ErrBackingImage = errors.New("the backing images differ")
	// ErrNotCloned: a clone is not, or cannot be shown to be, what was asked
	// for. Delete the volume and clone into a fresh one.
	ErrNotCloned = errors.New("not cloned")
)

// failed names the volume and the work in an error; nil stays nil.
func (e *Engine) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("volume %s: %s: %w", e.addr.Volume, what, err)
}

// rpcError is what a gRPC server said, without the frames that the client
// packages put around it.
type rpcError struct {
	msg string
	err error
}

func (e *rpcError) Error() string { return e.msg }
func (e *rpcError) Unwrap() error { return e.err }

// classify turns an error of Longhorn's clients into one of ours.
// FailedPrecondition is how engines and replicas say that they serve another
// volume or instance: the one that was meant is not there.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return err
	}
	st := s.GRPCStatus()
	said := &rpcError{msg: st.Message(), err: err}
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.FailedPrecondition:
		return fmt.Errorf("%w: %w", ErrUnavailable, said)
	}
	return said
}

// ended is the error for a ctx that ended before the answer came.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer in time: %w", ErrUnavailable, context.Cause(ctx))
	}
	return context.Cause(ctx)
}
