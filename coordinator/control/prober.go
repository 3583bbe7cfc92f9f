package control

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// prober probes targets, each one at a time, and remembers what it found.
type prober struct {
	c *Controller

	mu    sync.Mutex
	found map[types.UID]*probed
}

// probed is what is known of one target.
type probed struct {
	generation int64
	at         time.Time // zero: nothing is known yet
	failures   int
	err        *plan.WorkError
	keeps      protocol.Keeps
	took       time.Duration
	// tidied is when the target was last rid of what killed probes had left; zero: not
	// since this coordinator leads, nor since its spec was changed.
	tidied time.Time
	// asked is the request for a test that the probe which runs, or ran last,
	// answers.
	asked   string
	running bool
	waiters []func()
}

// tidyEvery is the time between two times that a target is rid of what killed probes
// have left.
const tidyEvery = 24 * time.Hour

// badCounts is how long a bad probe counts: long enough that everybody who
// waited for it hears of it.
const badCounts = 10 * time.Second

func newProber(c *Controller) *prober {
	return &prober{c: c, found: map[types.UID]*probed{}}
}

func (p *prober) of(t *v1alpha1.BackupTarget) *probed {
	e := p.found[t.UID]
	if e == nil || e.generation < t.Generation {
		var waiters []func()
		running := false
		if e != nil {
			waiters, running = e.waiters, e.running
		}
		e = &probed{generation: t.Generation, waiters: waiters, running: running}
		p.found[t.UID] = e
	}
	return e
}

// known is what a plan may rely on: a good probe within the floor, or a bad one
// that has just ended.
func (p *prober) known(t *v1alpha1.BackupTarget) plan.Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.of(t)
	counts := p.c.tuning().ProbeFloor
	if e.err != nil {
		counts = badCounts
	}
	return plan.Probe{Known: !e.at.IsZero() && time.Since(e.at) < counts, Failures: e.failures, Err: e.err}
}

// last is what the last probe of this generation found, however long ago.
func (p *prober) last(t *v1alpha1.BackupTarget) probed {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := *p.of(t)
	e.waiters = nil
	return e
}

// good notes that a target was used without trouble, which is as good as a
// probe.
func (p *prober) good(t *v1alpha1.BackupTarget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.of(t); e.generation == t.Generation && e.err == nil && !e.at.IsZero() {
		e.at = time.Now()
	}
}

// retryFloor is the shortest time between two probes of a target that failed.
const retryFloor = time.Second

// request has a target probed, after a pause when the last probe has just
// failed, and calls wake then.
func (p *prober) request(t *v1alpha1.BackupTarget, wake func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.of(t)
	e.waiters = append(e.waiters, wake)
	if e.running {
		return
	}
	e.running = true
	wait := time.Duration(0)
	if asked := testAsked(t); e.err != nil || asked != e.asked {
		wait = max(0, retryFloor-time.Since(e.at))
		e.asked = asked
	}
	target := t.DeepCopy()
	try := p.c.Targets.Probe
	tidy := e.tidied.IsZero() || time.Since(e.tidied) >= tidyEvery
	if tidy {
		try = p.c.Targets.ProbeAndTidy
	}
	time.AfterFunc(wait, func() {
		var found protocol.ProbeResult
		var took time.Duration
		var err error
		// That it has ended is noted when the pool has noted it too: the pool would
		// take no other one before, and nobody would ask again.
		p.c.pool.run(target.UID, plan.Work{Op: "Probe"}, lane{place: target.UID, quick: true}, probeDeadline, func(ctx context.Context) (any, error) {
			began := time.Now()
			found, err = try(ctx, protocol.OnTarget(target))
			took = time.Since(began)
			return nil, err
		}, func() { p.ended(target, found, tidy, took, err) })
	})
}

func (p *prober) ended(t *v1alpha1.BackupTarget, found protocol.ProbeResult, tidied bool, took time.Duration, err error) {
	if found.Untidied != "" {
		p.c.Log.Warn("what killed probes have left on a target was not removed: it is tried again in a day", "target", t.Name, "error", found.Untidied)
	}
	p.mu.Lock()
	e := p.found[t.UID]
	if e == nil {
		p.mu.Unlock()
		return // the target is gone
	}
	e.running = false
	waiters := e.waiters
	e.waiters = nil
	if e.generation == t.Generation {
		e.at, e.took, e.keeps = time.Now(), took, found.Keeps
		if e.err = nil; err != nil {
			e.err = workError(err)
			e.failures++
		} else {
			e.failures = 0
			if tidied {
				e.tidied = e.at
			}
		}
	}
	silent := e.silent()
	p.mu.Unlock()
	if silent != nil {
		p.c.pool.silent(t.UID, silent)
	}
	for _, wake := range waiters {
		wake()
	}
	p.c.wake.targets.wake(types.NamespacedName{Name: t.Name})
}

// silentAfter is how many probes in a row must have got no answer until nothing else
// is tried: one that is missed may be this coordinator's own trouble.
const silentAfter = 2

// silent is what the last probe found of a target that gives no answer; nil: it gives
// one, be it a bad one, or that is not known.
func (e *probed) silent() *plan.WorkError {
	if e.err == nil || e.err.Reason != string(protocol.Timeout) || e.failures < silentAfter {
		return nil
	}
	return e.err
}

// silent as probed.silent, for the target as it is now.
func (p *prober) silent(t *v1alpha1.BackupTarget) *plan.WorkError {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(t).silent()
}

// longWork is after what time a target is tried out while work on it goes on.
const longWork = 30 * time.Second

// watch has a target tried out while work on it takes long, until ctx ends: one that
// has fallen silent is found long before the work's deadline.
func (p *prober) watch(ctx context.Context, t *v1alpha1.BackupTarget) {
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(longWork):
			}
			if last := p.last(t); time.Since(last.at) >= longWork {
				p.request(t, func() {})
			}
		}
	}()
}

func (p *prober) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.found, uid)
}
