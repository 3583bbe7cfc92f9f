package lease

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/names"
)

// landsWithin is how long after it was sent a request without an answer can
// still be stored: the API server gives up its own requests after 60 s.
const landsWithin = 90 * time.Second

// giveBack empties the holder of a volume's lease if it is still this claim's,
// by compare-and-swap against what was stored last. It needs no valid session:
// what the stored object says is proof enough.
func (s *Session) giveBack(ctx context.Context, o owned) error {
	for try := 0; ; try++ {
		if o.lease == nil || !s.holds(o) {
			return nil // never stored, or lost
		}
		free := givenBack(o.lease)
		err := s.write(ctx, free)
		if err == nil {
			s.gaveBack(o, free)
		}
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		err = fmt.Errorf("giving back volume %s: %w", o.volume, err)
		if hopeless(err) && !refused(err) {
			return err
		}
		if !pause(ctx, s.backoff(try)) {
			return err
		}
		if o.lease, err = s.get(ctx, names.VolumeLease(o.volume)); err != nil {
			return err
		}
	}
}

// holds tells whether the lease in o says that this claim holds it.
func (s *Session) holds(o owned) bool {
	v := view(o.lease)
	return v.holder == s.id && v.claim == o.claim
}

// settle gives a claim back in the background whose fate is unknown: a write
// that was sent by sent and not answered, or, with the zero time, a lease that
// could not be given back. It ends with the session at the latest.
func (s *Session) settle(o owned, sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	s.settling.Go(func() {
		for try := 0; pause(s.ctx, max(s.backoff(try), s.pollEvery())); try++ {
			l, err := s.getOnce(s.ctx, names.VolumeLease(o.volume))
			if err != nil {
				continue
			}
			o.lease = l
			ours := l != nil && s.holds(o)
			switch {
			case ours && s.giveBack(s.ctx, o) != nil:
				continue
			case ours, time.Since(sent) > landsWithin:
				return
			}
		}
	})
}
