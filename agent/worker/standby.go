package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/attach"
	"hayloft.dev/pkg/lease"
)

// standby keeps for a moment what a cut held, since backups of its volumes
// follow at once: the lease under its epoch, our ticket and where the engine
// was found. What no job takes is given back. The zero value is ready.
type standby struct {
	mu     sync.Mutex
	kept   map[string]*kept // volume -> what is kept of it
	closed bool
	giving sync.WaitGroup // what is being given back in the background
}

// kept is what a job left of one volume.
type kept struct {
	volume  string
	job     client.ObjectKey
	session string
	held    *lease.Held
	ticket  attach.Ticket // zero: none was needed
	at      attach.Location
	timer   *time.Timer
	giveUp  func(*kept)
}

// put keeps something for a while; false when nothing is kept any more.
func (s *standby) put(k *kept, linger time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.kept[k.volume] != nil {
		return false
	}
	if s.kept == nil {
		s.kept = map[string]*kept{}
	}
	s.kept[k.volume] = k
	k.timer = time.AfterFunc(linger, func() { s.end(func(o *kept) bool { return o == k }) })
	return true
}

// take hands over what is kept of a volume if it is of this session; nil:
// nothing is.
func (s *standby) take(volume, session string) *kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[volume]
	if k == nil || k.session != session {
		return nil
	}
	k.timer.Stop()
	delete(s.kept, volume)
	return k
}

// end gives back what matches, and returns when that is done.
func (s *standby) end(match func(*kept) bool) {
	s.mu.Lock()
	var out []*kept
	for volume, k := range s.kept {
		if match(k) {
			k.timer.Stop()
			delete(s.kept, volume)
			out = append(out, k)
		}
	}
	s.giving.Add(len(out))
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, k := range out {
		all.Go(func() {
			defer s.giving.Done()
			k.giveUp(k)
		})
	}
	all.Wait()
}

// close gives everything back and keeps nothing any more.
func (s *standby) close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.end(func(*kept) bool { return true })
		s.giving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("not everything that was kept for a next job was given back")
	}
}

// giveBack ends what was kept of a volume. Its ticket is left for whoever takes
// the lease next: a cut of the VM's next point, or the agent on the engine's node.
func (w *Worker) giveBack(k *kept) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	w.Attacher.Leave(k.ticket, w.limits().Linger)
	if err := k.held.Release(ctx); err != nil {
		w.Log.Warn("could not release a lease; it ends with the session", "volume", k.volume, "error", err)
	}
}

// Close gives back what is kept for jobs that have not come. It is called when
// no job runs any more and before the session is closed.
func (w *Worker) Close(ctx context.Context) error { return w.standby.close(ctx) }
