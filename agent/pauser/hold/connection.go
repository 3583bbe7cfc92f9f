package hold

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"

	"hayloft.dev/agent/pauser/wire"
)

// serve is one connection: one hold.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(requestTime))
	in := json.NewDecoder(conn)
	var q wire.Request
	if err := in.Decode(&q); err != nil {
		s.Log.Debug("a connection without a request", "error", err)
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	if q.Hooks {
		s.hook(ctx, conn, in, q)
		return
	}
	limit := s.Limit
	if q.Limit > 0 {
		limit = min(limit, q.Limit)
	}

	// The dead-man counts from before the first container is paused.
	began := time.Now()
	held, drop := context.WithCancelCause(ctx)
	defer drop(nil)
	held, cancel := context.WithTimeoutCause(held, limit, errLimit)
	defer cancel()
	released := make(chan struct{})
	go func() {
		if err := in.Decode(&wire.Release{}); err != nil {
			drop(errGone)
			return
		}
		close(released)
	}()

	ids, users, err := s.pause(held, q)
	if err != nil {
		s.Log.Info("could not pause", "pods", q.Pods, "container", q.Container, "users", q.Users, "error", err)
		s.answer(conn, wire.Reply{Error: err.Error()})
		return
	}
	s.Log.Debug("paused", "containers", ids, "limit", limit)
	if !s.answer(conn, wire.Reply{Limit: limit, Users: users}) {
		drop(errGone)
	}
	select {
	case <-released:
		err = s.unheld(held, q, ids)
	case <-held.Done():
		err = context.Cause(held)
		if ctx.Err() != nil {
			err = errEnds
		}
	}
	err = errors.Join(err, s.release(ctx, ids))
	took := time.Since(began).Round(time.Microsecond)
	if err != nil {
		s.Log.Warn("a pause did not end as it should", "containers", ids, "took", took, "error", err)
		s.answer(conn, wire.Released{Error: err.Error()})
		return
	}
	s.Log.Info("paused and let go", "containers", ids, "took", took)
	s.answer(conn, wire.Released{})
}

func (s *Server) answer(conn net.Conn, message any) bool {
	_ = conn.SetWriteDeadline(time.Now().Add(requestTime))
	return json.NewEncoder(conn).Encode(message) == nil
}
