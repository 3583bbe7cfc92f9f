package refresh

import (
	"time"
)

// Circuit tells whether a target that keeps failing is left alone.
type Circuit string

// The states of a circuit.
const (
	Closed   Circuit = "Closed"
	Open     Circuit = "Open"     // left alone until its time is over
	HalfOpen Circuit = "HalfOpen" // being tried
)

// Pace is the pace of one target. It is not safe for use at the same time.
type Pace struct {
	bounds Bounds
	// chance is a number from 0 to 1.
	chance func() float64

	wish     Wish
	running  bool
	ended    time.Time // of the last refresh; zero: there was none
	last     Cost
	failures int
	jitter   float64 // of the present pause
	asked    bool    // by a person, since the last beginning
	healed   bool    // a probe found the target good again since the last end
	ledger   ledger
}

// New is the pace of a target that was never looked through. chance gives
// numbers from 0 to 1.
func New(b Bounds, chance func() float64) *Pace {
	return &Pace{bounds: b, chance: chance, jitter: chance()}
}

// Bound puts other bounds in force. A pause that goes on is judged by them as well.
func (p *Pace) Bound(b Bounds) { p.bounds = b }

// Past is what remains of a pace when another process goes on with it. Its times
// are those of a wall clock, and count for no more than an hour.
type Past struct {
	Started, Ended time.Time
	Last           Cost
	// Spent is the CPU time that counted when the later of both was written.
	Spent    time.Duration
	Failures int
}

// Resume goes on where another process has stopped. A refresh that began and
// whose end nobody noted counts with all that it was allowed.
func (p *Pace) Resume(past Past, now time.Time) {
	if past.Started.IsZero() && past.Ended.IsZero() {
		return
	}
	// A clock that was set may not keep the target waiting for longer.
	ended := sooner(past.Ended, now)
	if past.Started.After(past.Ended) {
		ended = sooner(past.Started, now)
		p.ledger.add(now, p.wish.allowance())
	}
	p.ledger.add(ended, past.Spent)
	p.ended, p.last, p.failures = ended, past.Last, past.Failures
}

func sooner(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

// Configure sets what the spec asks for; a change counts from the end of the
// last refresh, so that it never asks for one by itself.
func (p *Pace) Configure(w Wish) { p.wish = w }

// Ask is a person's word: the next refresh does not wait for the interval, nor
// for a circuit, but for the floor and the budget.
func (p *Pace) Ask() { p.asked = true }

// Heal says that a probe found the target good after a bad one: what waits only
// because of failures need not wait any longer.
func (p *Pace) Heal() { p.healed = p.failures > 0 }

// Next is when the next refresh may begin.
type Next struct {
	// Due: it may begin now.
	Due bool
	// At is when it may begin; zero: not by itself.
	At time.Time
	// Interval is the effective one, and Why what it comes from.
	Interval time.Duration
	Why      Why
	// Budget: what was spent is what it waits for.
	Budget  bool
	Circuit Circuit
}

// Next decides about the next refresh.
func (p *Pace) Next(now time.Time) Next {
	n := Next{Circuit: p.circuit()}
	n.Interval, n.Why = p.bounds.interval(p.wish, p.last)
	if p.running || p.wish.Never && !p.asked {
		return n
	}
	n.At = now
	if !p.ended.IsZero() {
		n.At = p.ended.Add(p.pause(n.Interval))
	}
	if free := p.ledger.free(now, p.wish.budget()-p.wish.allowance()); free.After(now) && free.After(n.At) {
		n.At, n.Budget = free, true
	}
	n.Due = !n.At.After(now)
	return n
}

// pause from the end of the last refresh to the next one.
func (p *Pace) pause(interval time.Duration) time.Duration {
	rest := max(p.bounds.Floor, p.bounds.rest(p.wish, p.last))
	switch {
	case p.asked:
		return p.bounds.Floor
	case p.healed:
		return rest
	case p.failures >= p.bounds.Trip:
		return p.shaken(max(rest, doubled(p.bounds.OpenFor, p.failures-p.bounds.Trip, p.bounds.OpenMax)))
	case p.failures > 0:
		return p.shaken(max(rest, doubled(p.bounds.Floor, p.failures-1, max(interval, p.bounds.BackoffMax))))
	}
	return p.shaken(interval)
}

// shaken spreads targets, and coordinators, that would come at the same moment.
func (p *Pace) shaken(d time.Duration) time.Duration {
	return d + scale(d, p.bounds.Jitter*p.jitter)
}

func doubled(d time.Duration, times int, most time.Duration) time.Duration {
	for ; times > 0 && d < most; times-- {
		d *= 2
	}
	return min(d, most)
}

func (p *Pace) circuit() Circuit {
	switch {
	case p.failures < p.bounds.Trip:
		return Closed
	case p.running:
		return HalfOpen
	}
	return Open
}

// Begin notes that a refresh begins, and tells the CPU time that it may take;
// false: it may not begin now.
func (p *Pace) Begin(now time.Time) (allowance time.Duration, ok bool) {
	if !p.Next(now).Due {
		return 0, false
	}
	p.running, p.asked, p.healed = true, false, false
	return p.wish.allowance(), true
}

// Abort takes back a beginning: nothing was done.
func (p *Pace) Abort() { p.running = false }

// End notes that a refresh ended, well or not, and what it cost.
func (p *Pace) End(now time.Time, c Cost, failed bool) {
	p.running, p.ended, p.last, p.jitter = false, now, c, p.chance()
	p.ledger.add(now, c.CPU+c.Beside)
	if failed {
		p.failures++
	} else {
		p.failures = 0
	}
}

// Running tells whether a refresh has begun and not ended.
func (p *Pace) Running() bool { return p.running }

// Failures in a row.
func (p *Pace) Failures() int { return p.failures }

// Spent is the CPU time that counts against the budget of an hour.
func (p *Pace) Spent(now time.Time) time.Duration { return p.ledger.sum(now) }

// Budget is the CPU time that may be spent in an hour.
func (p *Pace) Budget() time.Duration { return p.wish.budget() }
