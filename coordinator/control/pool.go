package control

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/targetio/protocol"
)

// pool runs target work in the background, a bounded number at once, and keeps
// the results until their owner is forgotten. They are a cache: all work is
// idempotent, and a new leader does it again.
type pool struct {
	ctx   context.Context // ends with the process's leadership
	slots *slots

	mu    sync.Mutex
	works map[types.UID]map[plan.Work]*work
}

// work is one piece of work and how it went.
type work struct {
	state  plan.WorkState
	value  any // of the last try that went well
	lane   lane
	cancel context.CancelCauseFunc
}

func newPool(ctx context.Context, atOnce int) *pool {
	return &pool{ctx: ctx, slots: newSlots(atOnce), works: map[types.UID]map[plan.Work]*work{}}
}

// run starts a piece of work unless it runs already; wake is called when it
// has ended. The deadline counts from when it gets a slot.
func (p *pool) run(owner types.UID, w plan.Work, l lane, deadline time.Duration, do func(context.Context) (any, error), wake func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.works[owner] == nil {
		p.works[owner] = map[plan.Work]*work{}
	}
	e := p.works[owner][w]
	if e == nil {
		e = &work{}
		p.works[owner][w] = e
	}
	if e.state.Running {
		return
	}
	e.state.Running = true
	ctx, cancel := context.WithCancelCause(p.ctx)
	e.cancel, e.lane = cancel, l
	go func() {
		defer cancel(nil)
		var value any
		err := p.slots.take(ctx, l)
		began := err == nil
		if began {
			wctx, stop := context.WithTimeout(ctx, deadline)
			value, err = do(wctx)
			stop()
			p.slots.give(l)
		}
		found := silenceOf(ctx)
		switch {
		case err != nil && found != nil:
			err = found
		case !began:
			p.ended(e, nil, err)
			return
		}
		p.ended(e, value, err)
		wake()
	}()
}

// silence is why work ends on a target that gives no answer.
type silence struct{ found *plan.WorkError }

func (s *silence) Error() string { return s.found.Message }

// silenceOf is what was found of the target when work on it was ended for its silence;
// nil: it was not.
func silenceOf(ctx context.Context) *plan.WorkError {
	var silent *silence
	if !errors.As(context.Cause(ctx), &silent) {
		return nil
	}
	return silent.found
}

// silent ends what lasts on a target that gives no answer, and what waits for a slot
// to begin there: each would only wait for its own deadline, and keep others waiting.
func (p *pool) silent(place types.UID, found *plan.WorkError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, of := range p.works {
		for _, e := range of {
			if e.state.Running && e.lane.place == place && !e.lane.quick {
				e.cancel(&silence{found})
			}
		}
	}
}

func (p *pool) ended(e *work, value any, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	e.state.Running = false
	e.state.Tries++
	e.state.Ended = now
	if err == nil {
		e.state.Err, e.state.FirstFailed = nil, time.Time{}
		e.value = value
		return
	}
	if e.state.FirstFailed.IsZero() {
		e.state.FirstFailed = now
	}
	e.state.Err = workError(err)
}

// states of an owner's work.
func (p *pool) states(owner types.UID) plan.Works {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := plan.Works{}
	for w, e := range p.works[owner] {
		out[w] = e.state
	}
	return out
}

// value returns the result of the last work of one kind that went well.
func value[T any](p *pool, owner types.UID, op plan.Op) (T, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var newest *work
	for w, e := range p.works[owner] {
		if w.Op == op && e.value != nil && (newest == nil || e.state.Ended.After(newest.state.Ended)) {
			newest = e
		}
	}
	if newest == nil {
		var zero T
		return zero, false
	}
	v, ok := newest.value.(T)
	return v, ok
}

// drop forgets an owner's work of some kinds, which has ended or is not wanted any more.
func (p *pool) drop(owner types.UID, ops ...plan.Op) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w, e := range p.works[owner] {
		if slices.Contains(ops, w.Op) {
			e.cancel(nil)
			delete(p.works[owner], w)
		}
	}
	if len(p.works[owner]) == 0 {
		delete(p.works, owner)
	}
}

// forget drops an owner's results and cancels what still runs.
func (p *pool) forget(owner types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.works[owner] {
		if e.cancel != nil {
			e.cancel(nil)
		}
	}
	delete(p.works, owner)
}

// workError keeps what the target worker said of a failure. What is not from
// the worker is our own trouble, or the deadline, and may pass.
func workError(err error) *plan.WorkError {
	var e *protocol.Error
	var known *plan.WorkError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &e):
		return &plan.WorkError{Reason: string(e.Reason), Message: err.Error(), Transient: e.Transient}
	case errors.Is(err, context.DeadlineExceeded):
		return &plan.WorkError{Reason: string(protocol.Timeout), Message: err.Error(), Transient: true}
	}
	return &plan.WorkError{Reason: string(protocol.Internal), Message: err.Error(), Transient: true}
}
