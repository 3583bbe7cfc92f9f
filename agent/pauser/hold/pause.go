package hold

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hayloft.dev/agent/pauser/wire"
)

// pause pauses all containers of a request, or none.
func (s *Server) pause(ctx context.Context, q wire.Request) (held []string, err error) {
	defer func() {
		if err != nil {
			_ = s.release(ctx, held)
			held = nil
		}
	}()
	if len(q.Pods) == 0 {
		return nil, errors.New("the request names no pod")
	}
	var ids []string
	for _, p := range q.Pods {
		if p.Namespace == "" || p.UID == "" {
			return nil, fmt.Errorf("a pod is named by namespace and UID: %+v", p)
		}
		found, err := s.Containers.Find(ctx, p, q.Container)
		if err != nil {
			return nil, err
		}
		ids = append(ids, found...)
	}
	for _, id := range ids {
		if err := s.take(ctx, id); err != nil {
			return held, fmt.Errorf("container %s is paused for another cut: %w", id, err)
		}
		if err := s.Containers.Pause(ctx, id); errors.Is(err, ErrUncertain) {
			return append(held, id), err
		} else if err != nil {
			s.give(id)
			return held, err
		}
		held = append(held, id)
	}
	// The last may have been paused when the dead-man was up, or nobody waited.
	return held, context.Cause(ctx)
}

// release lets containers go, at once and however long it takes. The error says
// that one of them was not paused any more.
func (s *Server) release(ctx context.Context, ids []string) error {
	var all sync.WaitGroup
	lost := make([]error, len(ids))
	for i, id := range ids {
		all.Go(func() {
			if !s.letGo(ctx, id) {
				lost[i] = fmt.Errorf("container %s was not paused any more when it was let go", id)
			}
		})
	}
	all.Wait()
	return errors.Join(lost...)
}

// letGo resumes a container, whatever became of who asked and however often it
// takes; containerd may be away. held tells whether it was paused until now.
func (s *Server) letGo(ctx context.Context, id string) (held bool) {
	defer s.give(id)
	ctx = context.WithoutCancel(ctx)
	for wait := retryFloor; ; wait = min(2*wait, retryCeiling) {
		cctx, cancel := context.WithTimeout(ctx, callTime)
		was, err := s.Containers.Resume(cctx, id)
		cancel()
		held = held || was
		if err == nil {
			return held
		}
		s.Log.Warn("cannot let a container go; trying again", "container", id, "error", err)
		_ = pause(ctx, wait)
	}
}

// take marks a container as ours to pause and resume. It waits for one that is
// being let go.
func (s *Server) take(ctx context.Context, id string) error {
	for {
		s.mu.Lock()
		free := s.busy[id]
		if free == nil {
			if s.busy == nil {
				s.busy = map[string]chan struct{}{}
			}
			s.busy[id] = make(chan struct{})
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Server) give(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.busy[id])
	delete(s.busy, id)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
