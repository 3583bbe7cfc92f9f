package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"

	"hayloft.dev/pkg/names"
)

// owned is one volume's lease as this session wrote it.
type owned struct {
	volume string
	claim  string
	lease  *coordinationv1.Lease // as last known to be stored; nil: never seen
}

// Held are the leases that one call of AcquireAll took. Its methods may be
// called by many goroutines.
type Held struct {
	s     *Session
	owned []owned // by volume; not changed once held

	mu       sync.Mutex
	released bool
}

// Epochs under which the volumes are held, volume -> epoch.
func (h *Held) Epochs() map[string]int64 {
	m := make(map[string]int64, len(h.owned))
	for _, o := range h.owned {
		m[o.volume] = epoch(o.lease)
	}
	return m
}

// Check is to be called before an irreversible step: it returns nil only when
// the session was valid after every lease was read from the API server and
// found to have this holder and epoch. Where that is known to be untrue the
// error wraps ErrLost, ErrFenced or ErrClosed; any other error, such as an API
// server that does not answer until ctx ends, is no leave to go on either.
func (h *Held) Check(ctx context.Context) error {
	if err := h.s.err(); err != nil {
		return fmt.Errorf("checking leases: %w", err)
	}
	h.mu.Lock()
	released := h.released
	h.mu.Unlock()
	if released {
		return fmt.Errorf("checking leases: %w: they were released", ErrLost)
	}
	ctx, stop := h.s.bind(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, o := range h.owned {
		g.Go(func() error { return h.s.check(ctx, o) })
	}
	// The clock is looked at last: the reads may have taken long.
	err := g.Wait()
	if over := h.s.err(); over != nil {
		err = over
	}
	if err != nil {
		return fmt.Errorf("checking leases: %w", err)
	}
	return nil
}

func (s *Session) check(ctx context.Context, o owned) error {
	l, err := s.get(ctx, names.VolumeLease(o.volume))
	switch {
	case err != nil:
		return err
	case l == nil:
		return fmt.Errorf("volume %s: %w: the lease is gone", o.volume, ErrLost)
	case holder(l) != s.id || epoch(l) != epoch(o.lease):
		return fmt.Errorf("volume %s: %w: holder %q, epoch %d instead of %q, %d",
			o.volume, ErrLost, holder(l), epoch(l), s.id, epoch(o.lease))
	}
	return nil
}

// Release gives the volumes back; all work under the leases must have ended. A
// lease that was lost is left alone and is no error. It takes no longer than
// the session's duration, or 5 s if that is shorter. On an error the session
// goes on trying in the background for as long as it lives; when it has ended
// its volumes are free anyway.
func (h *Held) Release(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return nil
	}
	h.released = true
	ctx, cancel := context.WithTimeout(ctx, h.s.farewell())
	defer cancel()
	errs := make([]error, len(h.owned))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, o := range h.owned {
		g.Go(func() error {
			if errs[i] = h.s.giveBack(ctx, o); errs[i] != nil {
				h.s.settle(o, time.Time{})
			}
			return nil
		})
	}
	_ = g.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("releasing leases: %w", err)
	}
	return nil
}

// abandon gives back what was taken in vain, even when ctx has ended.
func (h *Held) abandon(ctx context.Context) {
	if err := h.Release(context.WithoutCancel(ctx)); err != nil {
		h.s.o.Log.Warn("leases not given back yet", "error", err.Error())
	}
}
