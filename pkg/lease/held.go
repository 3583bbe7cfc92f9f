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
	// proofs is when a request about each volume's lease was last sent whose
	// answer showed it as this call's, volume -> instant.
	proofs map[string]time.Time
}

// Epochs under which the volumes are held, volume -> epoch.
func (h *Held) Epochs() map[string]int64 {
	m := make(map[string]int64, len(h.owned))
	for _, o := range h.owned {
		m[o.volume] = epoch(o.lease)
	}
	return m
}

// Split makes one Held of each volume, with the same epochs. h itself is spent:
// it checks as lost, and releasing it gives nothing back.
func (h *Held) Split() map[string]*Held {
	h.mu.Lock()
	defer h.mu.Unlock()
	parts := make(map[string]*Held, len(h.owned))
	if h.released {
		return parts
	}
	h.released = true
	for _, o := range h.owned {
		parts[o.volume] = &Held{s: h.s, owned: []owned{o}, proofs: map[string]time.Time{o.volume: h.proofs[o.volume]}}
	}
	return parts
}

// Check is to be called before an irreversible step: it returns nil only when
// the session is valid and the API server, in answer to a read or write sent
// less than a second ago, showed every lease with this holder and epoch. It
// reads those of which there is no such answer; a read, too, is as old as that
// when it arrives. The second is a fifteenth of a short session's duration. Where that is known to be untrue the
// error wraps ErrLost, ErrFenced or ErrClosed; any other error, such as an API
// server that does not answer until ctx ends, is no leave to go on either.
func (h *Held) Check(ctx context.Context) error {
	if err := h.s.err(); err != nil {
		return fmt.Errorf("checking leases: %w", err)
	}
	stale, err := h.unproved(time.Now())
	if err != nil {
		return fmt.Errorf("checking leases: %w", err)
	}
	ctx, stop := h.s.bind(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, o := range stale {
		g.Go(func() error {
			sent := time.Now()
			err := h.s.check(ctx, o)
			if err == nil {
				h.proved(o.volume, sent)
			}
			return err
		})
	}
	// The clock is looked at last: the reads may have taken long.
	err = g.Wait()
	if over := h.s.err(); over != nil {
		err = over
	}
	if err != nil {
		return fmt.Errorf("checking leases: %w", err)
	}
	return nil
}

// unproved are the leases that must be read before they count as held.
func (h *Held) unproved(now time.Time) ([]owned, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return nil, fmt.Errorf("%w: they were released", ErrLost)
	}
	var stale []owned
	for _, o := range h.owned {
		if !h.s.latest(o) || now.Sub(h.proofs[o.volume]) >= h.s.proofLasts() {
			stale = append(stale, o)
		}
	}
	return stale, nil
}

func (h *Held) proved(volume string, sent time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.proofs[volume] = sent
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
