package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/agent/quiesce"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Guests is what the worker needs to bring a VM's guest to rest.
type Guests interface {
	Look(ctx context.Context, g v1alpha1.CutGuest, disks []v1alpha1.CutDisk) (quiesce.Guest, error)
	// Freeze and Thaw go the way that was found. A pause is also one of the others that
	// have the disks mounted, whom it names.
	Freeze(ctx context.Context, g v1alpha1.CutGuest, found quiesce.Guest) (others []string, err error)
	Thaw(ctx context.Context, g v1alpha1.CutGuest, found quiesce.Guest) error
	// FreezeOthers and ThawOthers pause these alone.
	FreezeOthers(ctx context.Context, g v1alpha1.CutGuest, found quiesce.Guest, limit time.Duration) (others []string, err error)
	ThawOthers(ctx context.Context, g v1alpha1.CutGuest) error
	// Elsewhere names the node whose agent alone can do what the cut must not be
	// without; "": this one can.
	Elsewhere(g v1alpha1.CutGuest, found quiesce.Guest) (node string, own quiesce.Own)
	// Hooks has what the VM declares for before a cut run; after has the rest run,
	// and must be called.
	Hooks(ctx context.Context, g v1alpha1.CutGuest, found quiesce.Guest) (before hooks.Ran, after func(context.Context) hooks.Ran)
}

// rest is how a guest stood around one cut.
type rest struct {
	guest  *v1alpha1.CutGuest // nil: nobody asked
	before quiesce.Guest
	after  quiesce.Guest
	// why no better rest was reached; nil when nothing went wrong.
	why error
	// asked is when the guest was asked to rest, zero when it was not or did
	// not. Its dead-man cannot have begun to count before.
	asked time.Time
	// others are who else had the disks mounted and stood still; otherwise says why
	// not all of these did. paused is when they were asked to without the guest, zero
	// when they were not or did not.
	others    []string
	otherwise error
	paused    time.Time
	// cut is when the last disk was cut, frozen how long the guest rested, or who else
	// has its disks.
	cut    time.Time
	frozen time.Duration
}

// reached is what may be said of the disks.
func (s rest) reached() (v1alpha1.Consistency, string) {
	why := ""
	if s.why != nil {
		why = s.why.Error()
	}
	switch {
	case s.guest == nil:
		return v1alpha1.ConsistencyCrash, ""
	case s.why == nil && !s.before.Running && !s.after.Running:
		return s.offline()
	case s.why == nil && !s.before.Running:
		return v1alpha1.ConsistencyCrash, "the VM was started while its disks were cut"
	case s.guest.Policy == v1alpha1.QuiesceNever:
		return v1alpha1.ConsistencyCrash, why
	case s.why == nil && s.before.Way == "" && s.guest.Method == v1alpha1.QuiescePause:
		return v1alpha1.ConsistencyQuiesceFailed, s.before.Why
	case s.why == nil && s.before.Way == "":
		return v1alpha1.ConsistencyNoAgent, strings.TrimSuffix("no guest agent is connected: install qemu-guest-agent in the VM; "+s.before.Why, "; ")
	case s.asked.IsZero():
		return v1alpha1.ConsistencyQuiesceFailed, why
	case s.before.Way == quiesce.ByPause && s.why != nil:
		return v1alpha1.ConsistencyQuiesceFailed, why
	case s.before.Way == quiesce.ByPause:
		return v1alpha1.ConsistencyPaused, s.beside()
	case s.cut.Sub(s.asked) >= s.limit():
		return v1alpha1.ConsistencyQuiesceFailed, fmt.Sprintf("the last disk was cut %s after the guest was asked to freeze, and it thaws by itself after %s", s.cut.Sub(s.asked).Round(time.Millisecond), s.limit())
	}
	return v1alpha1.ConsistencyFrozen, strings.TrimPrefix(strings.TrimSuffix(why+"; "+s.beside(), "; "), "; ")
}

// offline is what may be said of the disks of a VM that did not run.
func (s rest) offline() (v1alpha1.Consistency, string) {
	switch {
	case s.otherwise != nil:
		return v1alpha1.ConsistencyQuiesceFailed, "the VM does not run, but " + s.beside()
	case s.joined():
		return v1alpha1.ConsistencyCrash, "something got the disks of the VM, which does not run, while they were cut"
	case len(s.others) > 0:
		return v1alpha1.ConsistencyPaused, "the VM does not run; " + s.beside()
	}
	return v1alpha1.ConsistencyOffline, ""
}

// joined: on another node than before something has the disks.
func (s rest) joined() bool {
	return slices.ContainsFunc(s.after.UsedOn, func(node string) bool { return !slices.Contains(s.before.UsedOn, node) })
}

// way is that by which anything was brought to rest.
func (s rest) way() quiesce.Way {
	if s.before.Way == "" && s.frozen > 0 {
		return quiesce.ByPause // who else had the disks
	}
	return s.before.Way
}

// beside tells what became of others that have the disks mounted.
func (s rest) beside() string {
	switch {
	case s.otherwise != nil:
		return "what else has its disks may have written to them: " + s.otherwise.Error()
	case len(s.others) > 0:
		return "what else has its disks mounted was paused: " + strings.Join(s.others, ", ")
	}
	return ""
}

func (s rest) limit() time.Duration { return time.Duration(s.guest.DeadlineSeconds) * time.Second }

// good: the point may go on with what was reached.
func (s rest) good() bool {
	c, _ := s.reached()
	return s.guest == nil || s.guest.Policy != v1alpha1.QuiesceRequired ||
		c == v1alpha1.ConsistencyFrozen || c == v1alpha1.ConsistencyOffline || c == v1alpha1.ConsistencyPaused
}

// hopeful: before anything is cut, the point may still get the rest that it
// requires.
func (s rest) hopeful() bool {
	return s.guest == nil || s.guest.Policy != v1alpha1.QuiesceRequired || !s.asked.IsZero() || (s.why == nil && s.otherwise == nil && !s.before.Running)
}

// unrested is the failure of a point that requires a rest which was not reached.
func (s rest) unrested() error {
	_, why := s.reached()
	return failed(v1alpha1.ReasonQuiesceFailed, false, "the guest of VM %s was not brought to rest, which spec.quiesce.policy Required asks for: %s", s.guest.VM, why)
}

// hush brings the guest to rest before a cut, and who else has its disks, as far as
// its policy asks for it. seen is a look that was just taken; nil: none. Whatever it
// returns, let must follow.
func (r *run) hush(ctx context.Context, g *v1alpha1.CutGuest, seen *sighting) rest {
	s := rest{guest: g}
	if g == nil {
		return s
	}
	if seen == nil {
		seen = r.look(ctx, g)
	}
	s.before, s.why = seen.guest, seen.err
	if s.why != nil || s.before.Way == "" && s.before.Running {
		return s
	}
	asked := time.Now()
	if s.before.Way != "" {
		others, err := within(ctx, s.limit(), func(ctx context.Context) ([]string, error) { return r.Guests.Freeze(ctx, *g, s.before) })
		if err != nil {
			s.why = err
			if s.before.Way == quiesce.ByFreeze {
				// It may be frozen all the same, or be so in a moment: its dead-man
				// counts from now at the latest.
				s.why = errors.Join(err, r.thaw(ctx, g, time.Now()))
			}
			return s
		}
		s.asked, s.others = asked, others
	}
	if s.before.Way != quiesce.ByPause {
		r.hushOthers(ctx, &s, s.limit()-time.Since(asked))
	}
	return s
}

// hushOthers pauses who else has the disks of a guest that is frozen or does not run,
// until what is left of its dead-man is over.
func (r *run) hushOthers(ctx context.Context, s *rest, left time.Duration) {
	if s.before.Unreached != "" {
		s.otherwise = errors.New(s.before.Unreached)
	}
	if len(s.before.Beside) == 0 || s.otherwise != nil && s.guest.Policy == v1alpha1.QuiesceRequired {
		return
	}
	if left <= 0 {
		s.otherwise = errors.Join(s.otherwise, errors.New("the guest had taken all the time to freeze that they may be paused for"))
		return
	}
	asked := time.Now()
	// Half of it is for the cut.
	others, err := within(ctx, left/2, func(ctx context.Context) ([]string, error) {
		return r.Guests.FreezeOthers(ctx, *s.guest, s.before, left)
	})
	if err != nil {
		s.otherwise = errors.Join(s.otherwise, err)
		return
	}
	s.paused, s.others = asked, others
}

// let lets the guest go on after a cut, and who else has its disks, at once and
// whatever became of the cut.
func (r *run) let(ctx context.Context, s *rest) {
	s.cut = time.Now()
	var others sync.WaitGroup
	var otherwise error
	var stood time.Duration
	if guest, paused := s.guest, s.paused; !paused.IsZero() {
		limit := s.limit()
		others.Go(func() {
			otherwise = r.letOthers(ctx, guest, limit)
			stood = time.Since(paused)
		})
	}
	r.letGuest(ctx, s)
	others.Wait()
	s.otherwise = errors.Join(s.otherwise, otherwise)
	if s.asked.IsZero() && len(s.others) > 0 {
		s.frozen = stood // letGuest says it of a guest
	}
	if s.guest != nil && s.why == nil && !s.before.Running {
		after := r.look(ctx, s.guest)
		s.after, s.why = after.guest, after.err
	}
}

func (r *run) letGuest(ctx context.Context, s *rest) {
	switch {
	case s.asked.IsZero():
	case s.before.Way == quiesce.ByPause:
		// It is this process that holds the container, whoever owns the volumes now.
		_, err := within(context.WithoutCancel(ctx), s.limit(), func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.Guests.Thaw(ctx, *s.guest, s.before)
		})
		s.frozen = time.Since(s.asked)
		if err != nil {
			s.why = fmt.Errorf("whether the container stood still until the last disk was cut is not certain: %w", err)
			r.Log.Warn("a pause did not end as it should", "job", r.job.Name, "vm", s.guest.Namespace+"/"+s.guest.VM, "error", err)
		}
	default:
		if err := r.thaw(ctx, s.guest, s.asked); err != nil {
			s.why = fmt.Errorf("the guest could not be told to thaw and did so by itself: %w", err)
			r.Log.Warn("could not thaw a guest; it thaws by itself", "job", r.job.Name, "vm", s.guest.Namespace+"/"+s.guest.VM, "error", err)
		}
		s.frozen = min(time.Since(s.asked), s.limit())
	}
}

// letOthers ends a pause that is not the guest's. This process holds it, whoever owns
// the volumes now.
func (r *run) letOthers(ctx context.Context, g *v1alpha1.CutGuest, limit time.Duration) error {
	_, err := within(context.WithoutCancel(ctx), limit, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Guests.ThawOthers(ctx, *g)
	})
	if err != nil {
		r.Log.Warn("a pause did not end as it should", "job", r.job.Name, "vm", g.Namespace+"/"+g.VM, "error", err)
		return fmt.Errorf("whether it stood still until the last disk was cut is not certain: %w", err)
	}
	return nil
}

// thawRetry is the pause between two tries to thaw.
const thawRetry = 200 * time.Millisecond

// thaw asks KubeVirt until it is answered or the guest has thawed by itself. An agent
// whose session is over does not ask: the volumes' next owner may have frozen
// the guest for a cut of its own.
func (r *run) thaw(ctx context.Context, g *v1alpha1.CutGuest, asked time.Time) error {
	ctx, stop := whileLiving(context.WithoutCancel(ctx), r.session)
	defer stop()
	ctx, cancel := context.WithDeadline(ctx, asked.Add(time.Duration(g.DeadlineSeconds)*time.Second))
	defer cancel()
	for {
		if over := r.session.Context(); over.Err() != nil {
			return context.Cause(over)
		}
		_, err := within(ctx, r.Limits.Call, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.Guests.Thaw(ctx, *g, quiesce.Guest{Way: quiesce.ByFreeze})
		})
		if err == nil {
			return nil
		}
		if pause(ctx, thawRetry) != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}
