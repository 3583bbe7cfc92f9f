package hold

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"hayloft.dev/agent/pauser/wire"
)

// rounds is how often it is looked for what has volumes mounted, until nothing new
// is found.
const rounds = 5

// pause pauses all containers of a request, or none. users are those that have the
// request's volumes mounted, in words.
func (s *Server) pause(ctx context.Context, q wire.Request) (held, users []string, err error) {
	defer func() {
		if err != nil {
			_ = s.release(ctx, held)
			held, users = nil, nil
		}
	}()
	ids, err := s.named(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	names := map[string]string{} // id -> who has a volume mounted
	for range rounds {
		more, err := s.newUsers(ctx, q, append(slices.Clone(held), ids...))
		if err != nil {
			return held, nil, err
		}
		for _, u := range more {
			ids, users, names[u.ID] = append(ids, u.ID), append(users, u.Name), u.Name
		}
		if len(ids) == 0 {
			// Whoever is started from here on is found at the end of the hold.
			// The last may have been paused when the dead-man was up, or nobody waited.
			return held, users, context.Cause(ctx)
		}
		paused, err := s.pauseAll(ctx, ids, names)
		if held = append(held, paused...); err != nil {
			return held, nil, err
		}
		if ids = nil; q.Users == nil {
			return held, nil, context.Cause(ctx)
		}
	}
	return held, nil, fmt.Errorf("more and more containers that have the volumes mounted are started: %d are paused, and there are others", len(held))
}

// named are the containers of the pods that a request names.
func (s *Server) named(ctx context.Context, q wire.Request) (ids []string, err error) {
	if len(q.Pods) == 0 && q.Users == nil {
		return nil, errors.New("the request names no pod")
	}
	if u := q.Users; u != nil && (u.Namespace == "" || len(u.Volumes) == 0 || slices.Contains(u.Volumes, "")) {
		return nil, fmt.Errorf("what has volumes mounted is told by namespace and volumes: %+v", *u)
	}
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
	return ids, nil
}

// newUsers are the containers that have a request's volumes mounted, but known ones.
func (s *Server) newUsers(ctx context.Context, q wire.Request, known []string) ([]User, error) {
	if q.Users == nil {
		return nil, nil
	}
	all, err := s.Containers.Users(ctx, *q.Users)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(u User) bool { return slices.Contains(known, u.ID) }), nil
}

// unheld is why a hold that is to end was not one of all that could write: somebody
// else has come.
func (s *Server) unheld(ctx context.Context, q wire.Request, held []string) error {
	more, err := s.newUsers(ctx, q, held)
	if err != nil {
		return err
	}
	var came []error
	for _, u := range more {
		came = append(came, fmt.Errorf("%s was started meanwhile", u.Name))
	}
	return errors.Join(came...)
}

// pauseAll pauses containers, in an order in which two holds cannot wait for each
// other. paused are those that are to be let go whatever the error is. names are of ids
// that people would not know.
func (s *Server) pauseAll(ctx context.Context, ids []string, names map[string]string) (paused []string, err error) {
	slices.Sort(ids)
	for i, id := range ids {
		if err := s.take(ctx, id); err != nil {
			for _, taken := range ids[:i] {
				s.give(taken)
			}
			return nil, fmt.Errorf("container %s is paused for another cut: %w", id, err)
		}
	}
	for i, id := range ids {
		err := s.Containers.Pause(ctx, id)
		if err == nil {
			paused = append(paused, id)
			continue
		}
		rest := ids[i:]
		if errors.Is(err, ErrUncertain) {
			paused, rest = append(paused, id), ids[i+1:]
		}
		for _, taken := range rest {
			s.give(taken)
		}
		if name := names[id]; name != "" {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return paused, err
	}
	return paused, nil
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
