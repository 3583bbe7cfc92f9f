package control

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// lane is what a piece of target work is counted with.
type lane struct {
	// place is the UID of the target, empty for documents in the cluster.
	place types.UID
	// quick work ends within seconds whatever its target does: probes.
	quick bool
}

// slots bound how many target workers run at once; the bound may be changed. A target
// that accepts and never answers takes what it gets for minutes, so no target gets
// all, and the last slot is kept for probes: they find out which target it is. Of
// those for whom there is room who has waited longest is served first.
type slots struct {
	mu      sync.Mutex
	bound   int
	taken   int
	lasting int               // of those, by what is not quick
	of      map[types.UID]int // place -> of those
	waiting []*waiter
}

// waiter is who waits for a slot; served is closed when it was taken for him.
type waiter struct {
	lane   lane
	served chan struct{}
}

func newSlots(bound int) *slots {
	return &slots{bound: bound, of: map[types.UID]int{}}
}

// room tells whether there is a slot for a lane now.
func (s *slots) room(l lane) bool {
	if s.taken >= s.bound || l.quick {
		return s.taken < s.bound
	}
	return s.lasting < max(1, s.bound-1) && s.of[l.place] < max(1, s.bound*3/4)
}

// take waits for a slot, which is to be given back.
func (s *slots) take(ctx context.Context, l lane) error {
	w := &waiter{lane: l, served: make(chan struct{})}
	s.change(func() { s.waiting = append(s.waiting, w) })
	select {
	case <-w.served:
		return nil
	case <-ctx.Done():
	}
	s.change(func() {
		if at := slices.Index(s.waiting, w); at >= 0 {
			s.waiting = slices.Delete(s.waiting, at, at+1)
		} else { // he was served at the same moment
			s.count(l, -1)
		}
	})
	return ctx.Err()
}

func (s *slots) count(l lane, n int) {
	s.taken += n
	if l.quick {
		return
	}
	s.lasting += n
	if s.of[l.place] += n; s.of[l.place] == 0 {
		delete(s.of, l.place)
	}
}

func (s *slots) give(l lane) { s.change(func() { s.count(l, -1) }) }

func (s *slots) resize(bound int) { s.change(func() { s.bound = bound }) }

// change does something, and serves whom it makes room for.
func (s *slots) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	s.waiting = slices.DeleteFunc(s.waiting, func(w *waiter) bool {
		if !s.room(w.lane) {
			return false
		}
		s.count(w.lane, 1)
		close(w.served)
		return true
	})
}
