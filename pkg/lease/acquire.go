package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"

	"hayloft.dev/pkg/names"
)

// parallel requests of one call for many volumes.
const parallel = 8

// look is what was found of one volume, and what is to be done about it.
type look struct {
	volume string
	lease  *coordinationv1.Lease // nil: there is none
	act    action
	until  time.Time // with wait: when it may have changed by silence alone
}

func (l look) holder() string { return view(l.lease).holder }

// AcquireAll takes the leases of all volumes, each under a new epoch, and
// waits for those that others hold. While it waits it holds none. A lease that
// an earlier call in this session holds is taken from it. It returns when all
// are held, or with the cause when ctx or the session ends.
func (s *Session) AcquireAll(ctx context.Context, volumes []string) (*Held, error) {
	volumes = slices.Compact(slices.Sorted(slices.Values(volumes)))
	if len(volumes) == 0 {
		return nil, errors.New("acquiring leases: no volume given")
	}
	ctx, stop := s.bind(ctx)
	defer stop()
	told := ""
	for {
		h, blocked, err := s.tryAll(ctx, volumes)
		for err == nil && blocked != nil {
			if about := blocked.volume + " " + blocked.holder(); about != told {
				told = about
				s.o.Log.Info("waiting for a volume", "volume", blocked.volume, "holder", blocked.holder())
				s.o.OnWait(blocked.volume, blocked.holder())
			}
			blocked, err = s.wait(ctx, *blocked)
		}
		switch {
		case err != nil && s.err() != nil:
			return nil, fmt.Errorf("acquiring leases of %v: %w", volumes, s.err())
		case err != nil:
			return nil, fmt.Errorf("acquiring leases of %v: %w", volumes, err)
		case h != nil:
			return h, nil
		}
	}
}

// tryAll takes all volumes or none. It looks at all of them before it writes,
// so that it seldom takes one only to give it back; those that this session was
// the last to give back it need not look at. blocked is the first volume that
// has to be waited for.
func (s *Session) tryAll(ctx context.Context, volumes []string) (h *Held, blocked *look, err error) {
	looks := make([]look, len(volumes))
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, v := range volumes {
		if l := s.remembered(v); l != nil {
			looks[i] = look{volume: v, lease: l, act: take}
			continue
		}
		g.Go(func() (err error) {
			looks[i], err = s.look(each, v, "")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	for i := range looks {
		if looks[i].act == wait {
			return nil, &looks[i], nil
		}
	}
	h = &Held{s: s, proofs: map[string]time.Time{}}
	for _, l := range looks {
		var o owned
		var sent time.Time
		if o, sent, blocked, err = s.take(ctx, l); err != nil || blocked != nil {
			break
		}
		h.owned = append(h.owned, o)
		h.proofs[o.volume] = sent
	}
	if err == nil && blocked == nil {
		err = s.err()
	}
	if err != nil || blocked != nil {
		h.abandon(ctx)
		return nil, blocked, err
	}
	return h, nil, nil
}

// look reads a volume's lease and, where another session holds it, that
// session's.
func (s *Session) look(ctx context.Context, volume, claim string) (look, error) {
	for try := 0; ; try++ {
		l, err := s.get(ctx, names.VolumeLease(volume))
		if err != nil {
			return look{}, err
		}
		var h verdict
		if v := view(l); v.foreign(s.id) {
			request, stop := context.WithTimeout(ctx, s.requestLimit())
			h.ended, h.until, err = s.others.Ended(request, s.c, s.o.Namespace, v.holder)
			stop()
		}
		switch {
		case err == nil:
			return look{volume: volume, lease: l, act: decide(s.id, claim, view(l), h), until: h.until}, nil
		case hopeless(err):
			return look{}, err
		case !pause(ctx, s.backoff(try)):
			return look{}, fmt.Errorf("%w, after: %w", context.Cause(ctx), err)
		}
	}
}

// take writes this session into a volume's lease that was found free. Where
// the write is refused or not answered it looks again, until the stored lease
// shows this very acquisition or another holder. sent is when the write that
// was answered was about to be sent, zero where it was only found.
func (s *Session) take(ctx context.Context, l look) (o owned, sent time.Time, blocked *look, err error) {
	o = owned{volume: l.volume, claim: s.claim()}
	var unknown, unanswered bool // whether a write may be stored; and even later than the next look
	defer func() {
		if o.lease == nil && unknown {
			s.settle(o, time.Now())
		}
	}()
	for try := 0; ; try++ {
		switch l.act {
		case own:
			o.lease = l.lease
			return o, time.Time{}, nil, nil
		case wait:
			return o, time.Time{}, &l, nil
		}
		next, err := acquisition(s.o.Namespace, l.volume, s.id, o.claim, l.lease)
		if err != nil {
			return o, time.Time{}, nil, err
		}
		s.claiming(o.volume, o.claim)
		sent = time.Now()
		err = s.write(ctx, next)
		if err == nil {
			if former := l.holder(); former != "" && former != s.id {
				s.o.Log.Info("volume taken over", "volume", l.volume, "from", former, "epoch", epoch(next))
			}
			o.lease = next
			return o, sent, nil, nil
		}
		err = fmt.Errorf("writing lease %s: %w", next.Name, err)
		if hopeless(err) {
			return o, time.Time{}, nil, err
		}
		unknown, unanswered = true, unanswered || !refused(err)
		if !pause(ctx, s.backoff(try)) {
			return o, time.Time{}, nil, fmt.Errorf("%w, after: %w", context.Cause(ctx), err)
		}
		if l, err = s.look(ctx, o.volume, o.claim); err != nil {
			return o, time.Time{}, nil, err
		}
		unknown = unanswered
	}
}

// wait for a volume until there is something to do about it; then it returns
// nil. It returns early when the holder is another one than before.
func (s *Session) wait(ctx context.Context, blocked look) (*look, error) {
	for {
		nap := jitter(s.pollEvery())
		if left := time.Until(blocked.until); left < nap {
			nap = max(left, floor)
		}
		if !pause(ctx, nap) {
			return nil, fmt.Errorf("%w while waiting for volume %s, held by session %s", context.Cause(ctx), blocked.volume, blocked.holder())
		}
		l, err := s.look(ctx, blocked.volume, "")
		switch {
		case err != nil:
			return nil, err
		case l.act != wait:
			return nil, nil
		case l.holder() != blocked.holder():
			return &l, nil
		}
		blocked = l
	}
}
