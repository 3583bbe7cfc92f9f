package control

import (
	"context"
	"sync"
	"time"
)

// Tuning is what may be changed while the coordinator runs. Options say what it
// begins with.
type Tuning struct {
	// MaxJobsPerNode bounds the jobs that are assigned to one node at once, and
	// TargetWorkers the target workers that run at once. What is over a bound that
	// was lowered goes on.
	MaxJobsPerNode, TargetWorkers int
	// ProbeFloor is how long a good probe of a target counts, and StatusEvery how
	// long a status that only informs is held back.
	ProbeFloor, StatusEvery time.Duration
}

// TuningOf is what options begin with.
func TuningOf(o Options) Tuning {
	o = o.Defaults()
	return Tuning{MaxJobsPerNode: o.MaxJobsPerNode, TargetWorkers: o.TargetWorkers, ProbeFloor: o.ProbeFloor, StatusEvery: o.StatusEvery}
}

// Tune puts other bounds in force, at once.
func (c *Controller) Tune(t Tuning) {
	c.tuned.Store(&t)
	c.pool.slots.resize(t.TargetWorkers)
	c.wake.assigner.wake(assignKey)
}

// tuning is what is in force.
func (c *Controller) tuning() Tuning { return *c.tuned.Load() }

// JobsPerNode is the bound in force on jobs that are assigned to one node.
func (c *Controller) JobsPerNode() int { return c.tuning().MaxJobsPerNode }

// slots bound how many do something at once; the bound may be changed.
type slots struct {
	mu           sync.Mutex
	bound, taken int
	changed      chan struct{} // closed when there may be room
}

func newSlots(bound int) *slots { return &slots{bound: bound, changed: make(chan struct{})} }

// take waits for a slot, which is to be given back.
func (s *slots) take(ctx context.Context) error {
	for {
		s.mu.Lock()
		if s.taken < s.bound {
			s.taken++
			s.mu.Unlock()
			return nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *slots) give() { s.change(func() { s.taken-- }) }

func (s *slots) resize(bound int) { s.change(func() { s.bound = bound }) }

func (s *slots) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}
