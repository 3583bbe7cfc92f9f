package lease

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Session is one life of an agent process among the others. It is valid until
// it is closed or fenced, and never again afterwards: the process then opens a
// new one. Its methods may be called by many goroutines.
type Session struct {
	id string
	c  client.Client
	o  Options

	ctx    context.Context // ends with the session
	end    context.CancelCauseFunc
	fuse   *time.Timer // ends ctx when validity runs out while a renewal hangs
	claims atomic.Int64
	others *Observer
	beats  heartbeat // used by the beating goroutine only, until done
	done   chan struct{}

	mu       sync.Mutex
	validity validity
	closing  bool
	memos    map[string]memo // volume -> what is remembered of its lease
	settling sync.WaitGroup  // claims of unknown fate that are being given back
}

// Open makes a session and keeps it alive in the background until Close. ctx
// bounds the opening only. c must read from the API server itself, never from
// a cache, and should not be slowed down by client-side rate limits.
func Open(ctx context.Context, c client.Client, o Options) (*Session, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l, sent, err := createSession(ctx, c, o)
	if err != nil {
		return nil, fmt.Errorf("opening a lease session for node %s: %w", o.Node, err)
	}
	s := &Session{
		id:       holder(l),
		c:        c,
		o:        o,
		others:   newObserver(o.Duration),
		beats:    heartbeat{lease: l},
		done:     make(chan struct{}),
		validity: validity{duration: o.Duration, renewed: sent},
	}
	s.o.Log = o.Log.With("session", s.id)
	s.ctx, s.end = context.WithCancelCause(context.WithoutCancel(ctx))
	s.fuse = time.AfterFunc(time.Until(s.validity.end()), func() { _ = s.err() })
	go s.beat()
	return s, nil
}

// createSession stores a session's Lease under a new ID. sent is the instant
// from which its first validity counts.
func createSession(ctx context.Context, c client.Client, o Options) (l *coordinationv1.Lease, sent time.Time, err error) {
	const tries = 5 // IDs of a node that are all taken: the random source is broken
	for range tries {
		random := make([]byte, 4)
		_, _ = rand.Read(random) // never fails
		l = newSession(o, sessionID(o.Node, hex.EncodeToString(random)))
		sent = time.Now()
		create, cancel := context.WithTimeout(ctx, o.Duration*2/3)
		err = c.Create(create, l)
		cancel()
		if !apierrors.IsAlreadyExists(err) {
			break
		}
	}
	return l, sent, err
}

// ID of the session, as in holderIdentity of the leases that it holds.
func (s *Session) ID() string { return s.id }

// Context ends with the session; its cause wraps ErrFenced or ErrClosed. All
// work under a lease is to be done with it.
func (s *Session) Context() context.Context { return s.ctx }

// err is why the session is over, or nil while it is valid. It looks at the
// clock: after a freeze of the whole process the timers are late.
func (s *Session) err() error {
	s.mu.Lock()
	v := s.validity
	s.mu.Unlock()
	if now := time.Now(); s.ctx.Err() == nil && !v.at(now) {
		s.fence(fmt.Errorf("no renewal for %v", now.Sub(v.renewed).Round(time.Millisecond)))
	}
	return context.Cause(s.ctx)
}

func (s *Session) fence(why error) {
	if s.ctx.Err() == nil {
		s.o.Log.Error("session is over", "reason", why.Error())
	}
	s.end(fmt.Errorf("%w: %w", ErrFenced, why))
}

// claim names one acquisition. Claims of one session are never equal.
func (s *Session) claim() string { return strconv.FormatInt(s.claims.Add(1), 10) }

// Close ends the session and deletes its Lease, so that others take over at
// once what it still holds: all work under its leases must have ended. On an
// error the Lease may be left behind; others then wait for its duration.
//
// A fenced session's Lease is left behind without an error: the wait for it is
// what protects the work that was under way when the session was fenced.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	if s.err() == nil {
		s.end(ErrClosed)
	}
	s.fuse.Stop()
	idle := make(chan struct{})
	go func() {
		s.settling.Wait() // requests end with the session's context
		<-s.done
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		return fmt.Errorf("closing session %s: a request of it does not end: %w", s.id, context.Cause(ctx))
	}

	if errors.Is(s.err(), ErrFenced) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.farewell())
	defer cancel()
	uid := s.beats.lease.UID
	for try := 0; ; try++ {
		// Not by resourceVersion: a renewal of ours may have been stored
		// without an answer.
		request, stop := context.WithTimeout(ctx, s.requestLimit())
		err := s.c.Delete(request, s.beats.lease, client.Preconditions{UID: &uid})
		stop()
		switch {
		case client.IgnoreNotFound(err) == nil, refused(err):
			return nil
		case hopeless(err) || !pause(ctx, s.backoff(try)):
			return fmt.Errorf("deleting the lease of session %s: %w", s.id, errors.Join(err, ctx.Err()))
		}
	}
}
