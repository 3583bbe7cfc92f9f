package worker

import (
	"context"
	"time"

	"hayloft.dev/pkg/api/v1alpha1"
)

// transferWatch tells a transfer that goes on from one that stands still. It
// takes instants of the monotonic clock.
type transferWatch struct {
	stall, lost time.Duration
	progress    int64
	movedAt     time.Time
	silentSince time.Time
	polls       int
}

func newTransferWatch(stall, lost time.Duration) *transferWatch {
	return &transferWatch{stall: stall, lost: lost, progress: -1}
}

// stalled notes progress, in any unit that grows, and tells whether it has
// been the same for too long.
func (w *transferWatch) stalled(at time.Time, progress int64) bool {
	w.silentSince = time.Time{}
	if progress != w.progress {
		w.progress, w.movedAt = progress, at
		return false
	}
	return at.Sub(w.movedAt) >= w.stall
}

// unreachable notes a failed look and tells whether there have been only such
// for too long.
func (w *transferWatch) unreachable(at time.Time) bool {
	if w.silentSince.IsZero() {
		w.silentSince = at
	}
	return at.Sub(w.silentSince) >= w.lost
}

// interval looks often at first, so that a small transfer is not waited for
// longer than it took, and then every limit.
func (w *transferWatch) interval(limit time.Duration) time.Duration {
	w.polls++
	return min(time.Duration(w.polls)*50*time.Millisecond, limit)
}

// progress reports how far a transfer is.
func (r *run) progress(ctx context.Context, t v1alpha1.TransferStatus) error {
	r.count(bytesDone(&t))
	return r.report.progress(ctx, t)
}

// count tells the observer of what was moved since it was last told.
func (r *run) count(done int64) {
	if done > r.seen {
		r.Observer.Moved(kind(r.job), done-r.seen)
		r.seen = done
	}
}

func bytesDone(t *v1alpha1.TransferStatus) int64 {
	if t == nil || t.Progress == nil {
		return 0
	}
	return t.Progress.BytesDone
}

// within gives one call its own deadline.
func within[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return call(ctx)
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
