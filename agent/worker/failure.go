package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
)

// failure is an end of the work itself, to be written into the job's status.
type failure struct {
	reason    string
	retryable bool
	err       error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failed(reason string, retryable bool, format string, args ...any) error {
	return &failure{reason: reason, retryable: retryable, err: fmt.Errorf(format, args...)}
}

// errDeadline is the cause of a run whose deadline passed.
var errDeadline = errors.New("the job's deadline passed")

// classify turns an error of the work into the job's reason. Sentinels decide
// where there are some; the engine's own words are never parsed for more than
// the lock of another process.
func classify(ctx context.Context, err error) *failure {
	var f *failure
	switch {
	case errors.Is(context.Cause(ctx), errDeadline):
		return &failure{v1alpha1.ReasonDeadlineExceeded, false, fmt.Errorf("%w: %w", errDeadline, err)}
	case errors.As(err, &f):
		return f
	case errors.Is(err, attach.ErrNotSupported):
		return &failure{v1alpha1.ReasonVolumeNotSupported, false, err}
	case errors.Is(err, attach.ErrGone):
		return &failure{v1alpha1.ReasonVolumeGone, false, err}
	case errors.Is(err, engine.ErrFrontendDown):
		return &failure{v1alpha1.ReasonFrontendDown, true, err}
	case errors.Is(err, engine.ErrNotCloned):
		return &failure{v1alpha1.ReasonReplicasDiffer, true, err}
	case errors.Is(err, engine.ErrSnapshotLimit):
		return &failure{v1alpha1.ReasonSnapshotLimit, false, err}
	case errors.Is(err, engine.ErrSize), errors.Is(err, engine.ErrBackingImage):
		return &failure{v1alpha1.ReasonVolumeNotFresh, false, err}
	case errors.Is(err, engine.ErrNotFresh), errors.Is(err, engine.ErrFrontendUp):
		return &failure{v1alpha1.ReasonVolumeNotFresh, true, err}
	case errors.Is(err, engine.ErrSnapshotMissing):
		return &failure{v1alpha1.ReasonSnapshotMissing, false, err}
	case wanted(err):
		return &failure{v1alpha1.ReasonVolumeWanted, true, err}
	case errors.Is(err, engine.ErrUnavailable), errors.Is(err, engine.ErrNoReplica),
		errors.Is(err, attach.ErrNotAttached), errors.Is(err, context.DeadlineExceeded):
		return &failure{v1alpha1.ReasonEngineUnavailable, true, err}
	}
	return &failure{v1alpha1.ReasonEngineError, true, err}
}

// lockedByOther recognises backupstore's refusal while another process holds
// the lock of the other kind; nothing was written under our name then.
func lockedByOther(err error) bool {
	return strings.Contains(err.Error(), "failed to acquire lock")
}
