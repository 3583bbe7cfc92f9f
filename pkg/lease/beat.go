package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// errNotOurs: the session's Lease is gone or is not as the session wrote it.
var errNotOurs = errors.New("the session's lease was changed or deleted by somebody else")

// heartbeat is the state of renewing a session's Lease.
type heartbeat struct {
	lease *coordinationv1.Lease // as last known to be stored
	count int64
	// sent holds renewals whose fate is unknown: beat -> when it was sent.
	sent map[string]time.Time
}

// beat renews the session's Lease every third of its duration, sooner after a
// failure, until the session ends.
func (s *Session) beat() {
	defer close(s.done)
	every := s.o.Duration / 3
	for next := every; pause(s.ctx, next); {
		began := time.Now()
		err := s.renew(began)
		if s.ctx.Err() != nil {
			return
		}
		s.o.OnBeat(time.Since(began), err)
		switch {
		case errors.Is(err, errNotOurs):
			s.fence(err)
			return
		case err != nil:
			s.o.Log.Warn("session not renewed", "error", err.Error())
			next = s.pollEvery()
		default:
			next = max(every-time.Since(began), floor)
		}
	}
}

// renew sends one renewal, with a deadline that leaves time for another before
// the session is over.
func (s *Session) renew(began time.Time) error {
	ctx, cancel := context.WithDeadline(s.ctx, began.Add(s.o.Duration/4))
	defer cancel()
	h := &s.beats
	h.count++
	beat := strconv.FormatInt(h.count, 10)
	next := renewal(h.lease, beat)
	err := s.c.Update(ctx, next)
	if err == nil {
		h.lease, h.sent = next, nil
		return s.renewed(began)
	}
	if h.sent == nil {
		h.sent = map[string]time.Time{}
	}
	h.sent[beat] = began
	switch {
	case apierrors.IsNotFound(err):
		return errNotOurs
	case apierrors.IsConflict(err):
		return s.adopt(ctx)
	}
	return fmt.Errorf("renewing: %w", err)
}

// adopt finds out who caused a conflict: a renewal of this session that was
// stored but not answered counts, anything else is the end.
func (s *Session) adopt(ctx context.Context) error {
	h := &s.beats
	l, err := s.getOnce(ctx, h.lease.Name)
	if err != nil {
		return err
	}
	if l == nil || l.UID != h.lease.UID || holder(l) != s.id {
		return errNotOurs
	}
	began, ours := h.sent[l.Annotations[annotationBeat]]
	if !ours {
		return errNotOurs
	}
	h.lease, h.sent = l, nil
	return s.renewed(began)
}

// renewed counts a renewal that was sent at began.
func (s *Session) renewed(began time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.validity.renew(began, time.Now())
	if !ok {
		return fmt.Errorf("the answer to a renewal came too late")
	}
	s.validity = v
	s.fuse.Reset(time.Until(v.end()))
	return nil
}
