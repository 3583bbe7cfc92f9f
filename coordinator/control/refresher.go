package control

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/catalog"
	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/refresh"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// RefreshRecorder is told of what refreshing targets costs.
type RefreshRecorder interface {
	// RefreshDone is called once per refresh; reason is empty for success.
	RefreshDone(target, reason string, wall, cpu time.Duration, requests int64)
	// RefreshSkipped counts refreshes that were due and did not begin.
	RefreshSkipped(target, reason string)
	// RefreshClamped counts refreshes after which a longer interval than asked
	// for is in effect.
	RefreshClamped(target string)
	// RefreshLoop counts what was stopped because it came more often than it can.
	RefreshLoop(target string)
}

// refresher looks through targets at the pace that package refresh allows.
type refresher struct {
	c *Controller

	mu sync.Mutex
	of map[types.UID]*refreshed
}

// refreshed is what is known of one target.
type refreshed struct {
	pace *refresh.Pace
	// begins and looks find loops: of refreshes, and of looks whether one is due.
	begins, looks refresh.Detector
	// bad: the last probe failed.
	bad bool
	// told of a loop that is going on.
	looping bool
	asked   string // the request that was taken up last
	status  v1alpha1.TargetRefreshStatus
	// before is the status without the refresh that was to begin.
	before v1alpha1.TargetRefreshStatus
	// identity is why this cluster could not restore the Secrets that it encrypts,
	// as it was at generation identityAt.
	identity   string
	identityAt int64
	// index is nil until a refresh has read it, and of the place where the target was
	// then; only the refresh that runs touches both.
	index *catalog.Index
	place string
}

// Looks at a target come from edits of its spec, the ends of probes and refreshes,
// and timers of at least a second.
const (
	looksEvery = 500 * time.Millisecond
	looksBurst = 100
)

func newRefresher(c *Controller) *refresher {
	return &refresher{c: c, of: map[types.UID]*refreshed{}}
}

func (r *refresher) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, uid)
}

// get is the state of a target. A leader goes on with the pace that its
// predecessor has written down.
func (r *refresher) get(t *v1alpha1.BackupTarget, now time.Time) *refreshed {
	e, bounds := r.of[t.UID], r.bounds()
	if e == nil {
		e = &refreshed{
			pace:   refresh.New(bounds, rand.Float64),
			begins: refresh.Detector{Burst: 2},
			looks:  refresh.Detector{Every: looksEvery, Burst: looksBurst},
		}
		e.pace.Configure(wish(t))
		if s := t.Status.Refresh; s != nil {
			e.status, e.asked = *s.DeepCopy(), s.Requested
			e.pace.Resume(past(s), now)
		}
		r.of[t.UID] = e
	}
	e.pace.Configure(wish(t))
	e.pace.Bound(bounds)
	e.begins.Every = bounds.Floor
	return e
}

// bounds are those in force.
func (r *refresher) bounds() refresh.Bounds {
	out := r.c.Refresh
	out.Floor = r.c.tuning().RefreshFloor
	return out
}

// wish is what a target's spec asks for; its schema lets nothing else in.
func wish(t *v1alpha1.BackupTarget) refresh.Wish {
	s := t.Spec.Refresh
	if s == nil {
		return refresh.Wish{}
	}
	var w refresh.Wish
	w.Every, w.Never, _ = refresh.ParseInterval(s.Interval)
	if s.MaxCPU != nil {
		w.Cores = s.MaxCPU.AsApproximateFloat64()
	}
	return w
}

func past(s *v1alpha1.TargetRefreshStatus) refresh.Past {
	p := refresh.Past{Spent: time.Duration(s.SpentCPUMilliseconds) * time.Millisecond, Failures: int(s.Failures)}
	if s.StartedTime != nil {
		p.Started = s.StartedTime.Time
	}
	if s.LastTime != nil {
		p.Ended = s.LastTime.Time
	}
	if c := s.Cost; c != nil {
		p.Last = refresh.Cost{
			CPU: time.Duration(c.CPUMilliseconds) * time.Millisecond, Wall: time.Duration(c.WallMilliseconds) * time.Millisecond, Requests: int(c.Requests),
		}
	}
	return p
}

// looked is what a look at a target's pace says.
type looked struct {
	status *v1alpha1.TargetRefreshStatus
	// begin: a refresh is to be run, once the status is written.
	begin     bool
	allowance time.Duration
	// again is in how long to look again; 0: not for this.
	again time.Duration
	// loop: this target is looked at too often.
	loop bool
}

// look decides whether a target is refreshed now. What it begins must be run, or
// given up.
func (r *refresher) look(t *v1alpha1.BackupTarget, last probed) looked {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e := r.get(t, now)
	if !e.looks.Admit(now) {
		return r.stop(t, e)
	}
	e.looping = false
	if ask := requested(t, v1alpha1.AnnotationRefresh); ask != "" && ask != e.asked {
		e.pace.Ask()
	}
	good := !last.at.IsZero() && last.err == nil
	if good && e.bad {
		e.pace.Heal()
	}
	e.bad = !last.at.IsZero() && last.err != nil
	next := e.pace.Next(now)
	out := looked{}
	switch {
	case next.Due && !good:
		// The end of the probe looks again.
		if e.bad {
			r.c.Refreshes.RefreshSkipped(t.Name, "TargetNotReady")
		}
	case next.Due:
		e.before = *e.status.DeepCopy()
		out.allowance, out.begin = e.pace.Begin(now)
		e.asked = requested(t, v1alpha1.AnnotationRefresh)
		e.status.StartedTime, e.status.Requested = second(now), e.asked
		e.status.SpentCPUMilliseconds = e.pace.Spent(now).Milliseconds()
		next = e.pace.Next(now)
	case !next.At.IsZero():
		out.again = next.At.Sub(now)
	}
	e.tell(next, now)
	out.status = e.status.DeepCopy()
	return out
}

// stop ends a loop: the target is looked at again after the floor.
func (r *refresher) stop(t *v1alpha1.BackupTarget, e *refreshed) looked {
	r.c.Refreshes.RefreshLoop(t.Name)
	if !e.looping {
		e.looping = true
		r.c.events.Event(t, corev1.EventTypeWarning, "RefreshLoop", "refreshes of this target are asked for more often than they can be: something changes it all the time; they are stopped for "+r.bounds().Floor.String())
	}
	return looked{loop: true, again: r.bounds().Floor}
}

// tell brings the pace into the status.
func (e *refreshed) tell(n refresh.Next, now time.Time) {
	e.status.EffectiveInterval, e.status.IntervalFrom = &metav1.Duration{Duration: n.Interval}, string(n.Why)
	e.status.Circuit = string(n.Circuit)
	e.status.Failures = int32(min(e.pace.Failures(), 1<<30))
	e.status.NextTime = nil
	if n.At.After(now) {
		e.status.NextTime = second(n.At)
	}
}

// giveUp takes back a refresh that was to begin and could not.
func (r *refresher) giveUp(t *v1alpha1.BackupTarget) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.of[t.UID]; e != nil {
		e.pace.Abort()
		e.status, e.asked = e.before, e.before.Requested
	}
}

// run refreshes a target in the background. Whatever has let it begin, it does not
// more often than the floor allows.
func (r *refresher) run(t *v1alpha1.BackupTarget, allowance time.Duration) {
	t = t.DeepCopy()
	r.mu.Lock()
	if e, now := r.of[t.UID], time.Now(); e != nil && !e.begins.Admit(now) {
		e.pace.End(now, refresh.Cost{}, true)
		r.stop(t, e)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	key := types.NamespacedName{Name: t.Name}
	r.c.pool.run(t.UID, plan.Work{Op: "Refresh"}, lane{place: t.UID}, r.c.Refresh.Deadline, func(ctx context.Context) (any, error) {
		r.mu.Lock()
		e := r.of[t.UID]
		r.mu.Unlock()
		if e == nil {
			return nil, nil // the target is gone
		}
		w := &refreshing{Controller: r.c, target: t, state: e, allowance: allowance}
		err := w.do(ctx)
		r.ended(t, e, w, err)
		if err != nil {
			// Its condition Ready is to tell the cause, if the target is it.
			r.c.probes.request(t, func() {})
		}
		return nil, err
	}, func() { r.c.wake.targets.wake(key) })
}

func (r *refresher) ended(t *v1alpha1.BackupTarget, e *refreshed, w *refreshing, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e.pace.End(now, w.cost, err != nil)
	s := &e.status
	s.LastTime = second(now)
	s.Cost = &v1alpha1.RefreshCost{
		CPUMilliseconds: w.cost.CPU.Milliseconds(), WallMilliseconds: w.cost.Wall.Milliseconds(), Requests: int64(w.cost.Requests),
	}
	s.SpentCPUMilliseconds = e.pace.Spent(now).Milliseconds()
	reason := ""
	s.Message = ""
	if err != nil {
		we := workError(err)
		reason, s.Message = we.Reason, cutTo(we.Message, 1024)
	} else {
		s.SucceededTime = s.LastTime
		s.Documents, s.Faults, s.Waiting = w.documents, w.faults, w.waiting
		e.identity, e.identityAt = w.identity, t.Generation
	}
	next := e.pace.Next(now)
	if next.Why == refresh.AtFloor || next.Why == refresh.ByCost {
		r.c.Refreshes.RefreshClamped(t.Name)
	}
	e.tell(next, now)
	r.c.Refreshes.RefreshDone(t.Name, reason, w.cost.Wall, w.cost.CPU+w.cost.Beside, int64(w.cost.Requests+w.beside))
}

// second is a time as the API server keeps it.
func second(t time.Time) *metav1.Time {
	s := metav1.NewTime(t).Rfc3339Copy()
	return &s
}

func cutTo(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}

// nobodyCounts is told of costs where nobody wants to know them.
type nobodyCounts struct{}

func (nobodyCounts) RefreshDone(string, string, time.Duration, time.Duration, int64) {}
func (nobodyCounts) RefreshSkipped(string, string)                                   {}
func (nobodyCounts) RefreshClamped(string)                                           {}
func (nobodyCounts) RefreshLoop(string)                                              {}

// costOf is what a worker has cost; one that did not end may go on up to what the
// kernel lets it take.
func costOf(c protocol.Cost, allowed time.Duration) refresh.Cost {
	out := refresh.Cost{CPU: c.CPU, Wall: c.Wall, Requests: int(c.Requests)}
	if !c.Reaped {
		out.CPU = allowed
	}
	return out
}
