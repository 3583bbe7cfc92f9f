package lease

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// floor between two tries of one thing.
	floor = 20 * time.Millisecond
	// minRequest is the shortest deadline of a request that is not a renewal.
	minRequest = time.Second
)

// requestLimit bounds one request that is not a renewal.
func (s *Session) requestLimit() time.Duration { return max(s.o.Duration/3, minRequest) }

// farewell bounds giving back what is held.
func (s *Session) farewell() time.Duration { return max(s.o.Duration, 5*minRequest) }

// pollEvery is how often a held volume is looked at by who waits for it.
func (s *Session) pollEvery() time.Duration {
	return min(max(s.o.Duration/15, floor), 2*time.Second)
}

// backoff before try number n, from 0: from the floor up to the poll interval,
// with jitter, so that two writers who met do not meet again.
func (s *Session) backoff(n int) time.Duration {
	return jitter(min(floor<<min(n, 10), max(s.pollEvery(), floor)))
}

// jitter adds up to half of d.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/2+1) }

// pause returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}

// bind makes a context that ends with ctx or with the session, whichever is
// first, with that one's cause.
func (s *Session) bind(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// get reads a Lease from the API server, again and again while it cannot
// answer, until ctx ends. It returns nil when there is none.
func (s *Session) get(ctx context.Context, name string) (*coordinationv1.Lease, error) {
	for try := 0; ; try++ {
		l, err := s.getOnce(ctx, name)
		if err == nil || hopeless(err) {
			return l, err
		}
		if !pause(ctx, s.backoff(try)) {
			return nil, fmt.Errorf("%w, after: %w", context.Cause(ctx), err)
		}
	}
}

func (s *Session) getOnce(ctx context.Context, name string) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, s.requestLimit())
	defer cancel()
	var l coordinationv1.Lease
	err := s.c.Get(ctx, client.ObjectKey{Namespace: s.o.Namespace, Name: name}, &l)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading lease %s: %w", name, err)
	}
	return &l, nil
}

// write creates the object, or updates it where it was read before. The
// server compares resourceVersion and UID; the latter matters, as a Lease put
// without a UID would be created where it was deleted.
func (s *Session) write(ctx context.Context, l *coordinationv1.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, s.requestLimit())
	defer cancel()
	if l.UID == "" {
		return s.c.Create(ctx, l)
	}
	return s.c.Update(ctx, l)
}

// refused is a definite no to a compare-and-swap. Even then the object may
// hold what was to be written: clients repeat a request by themselves when the
// server answered that it timed out.
func refused(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

// hopeless errors stay when the same is asked again. NotFound is one where it
// is the answer to a write: the namespace is missing.
func hopeless(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsInvalid(err) ||
		apierrors.IsBadRequest(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsNotFound(err) ||
		meta.IsNoMatchError(err) || runtime.IsNotRegisteredError(err)
}
