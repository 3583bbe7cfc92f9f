// Package session keeps one lease session alive for the agent process: it
// opens one, hands it to whoever works, and opens another when it has ended.
//
// The rules of sessions are pkg/lease's; this is only their life in a process.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/worker"
	"hayloft.dev/pkg/lease"
)

// reopenFloor is the shortest time between two tries to open a session.
const reopenFloor = time.Second

// Keeper implements worker's source of sessions. Run must be running.
type Keeper struct {
	client  client.Client
	options lease.Options
	log     *slog.Logger
	watched Observer

	mu      sync.Mutex
	current *lease.Session
	changed chan struct{} // closed and replaced at every change of current
}

// Observer is told of the life of sessions, for metrics.
type Observer interface {
	SessionOpened()
	// SessionEnded: lost is true when it ended by itself.
	SessionEnded(lost bool)
	// Beat tells how a renewal went.
	Beat(took time.Duration, err error)
}

// NewKeeper makes a keeper that opens sessions with the given uncached client.
func NewKeeper(c client.Client, o lease.Options, watched Observer, log *slog.Logger) *Keeper {
	o.OnBeat = watched.Beat
	return &Keeper{client: c, options: o, watched: watched, log: log, changed: make(chan struct{})}
}

// Run keeps a session until ctx ends, then closes it, so that others need not
// wait for its silence.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		s, err := lease.Open(ctx, k.client, k.options)
		if err != nil {
			if ctx.Err() == nil {
				k.log.Error("cannot open a session; trying again", "error", err)
			}
			wait(ctx, reopenFloor)
			continue
		}
		k.log.Info("session opened", "session", s.ID())
		k.watched.SessionOpened()
		k.set(s)
		select {
		case <-ctx.Done():
		case <-s.Context().Done():
			k.log.Warn("session ended", "session", s.ID(), "cause", context.Cause(s.Context()).Error())
		}
		k.watched.SessionEnded(ctx.Err() == nil)
		k.set(nil)
		k.close(s)
		wait(ctx, reopenFloor)
	}
}

// close ends a session. One that was fenced cannot prove anything any more and
// is left to be swept.
func (k *Keeper) close(s *lease.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil && !errors.Is(err, lease.ErrFenced) {
		k.log.Warn("could not close the session; it ends by its silence", "session", s.ID(), "error", err)
	}
}

// Current waits for a living session.
func (k *Keeper) Current(ctx context.Context) (worker.Session, error) {
	for {
		k.mu.Lock()
		s, changed := k.current, k.changed
		k.mu.Unlock()
		if s != nil && s.Context().Err() == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no session with the API server: %w", context.Cause(ctx))
		case <-changed:
		}
	}
}

// Ready is an error while there is no session.
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == nil || k.current.Context().Err() != nil {
		return errors.New("no session with the API server")
	}
	return nil
}

func (k *Keeper) set(s *lease.Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current = s
	close(k.changed)
	k.changed = make(chan struct{})
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
