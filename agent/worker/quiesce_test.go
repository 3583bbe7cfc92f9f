package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/agent/quiesce"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
)

func cutGuest(p v1alpha1.QuiescePolicy) *v1alpha1.CutGuest {
	return &v1alpha1.CutGuest{Namespace: "ns", VM: "web", VMUID: "uid", Policy: p, DeadlineSeconds: 10}
}

func TestRestReached(t *testing.T) {
	t0 := time.Now()
	best, must, never := cutGuest(v1alpha1.QuiesceBestEffort), cutGuest(v1alpha1.QuiesceRequired), cutGuest(v1alpha1.QuiesceNever)
	running, agent := quiesce.Guest{Running: true}, quiesce.Guest{Running: true, Agent: true, Way: quiesce.ByFreeze}
	pauses := quiesce.Guest{Running: true, Way: quiesce.ByPause}
	wanted, elsewhere := cutGuest(v1alpha1.QuiesceRequired), quiesce.Guest{Running: true, Why: "the VM runs on node"}
	wanted.Method = v1alpha1.QuiescePause
	refused := errors.New("virt-launcher says no")
	shell, unpaused := []string{"container sh of pod maint"}, errors.New("container sh is stubborn")
	for name, c := range map[string]struct {
		rest    rest
		want    v1alpha1.Consistency
		says    string
		hopeful bool
		good    bool
	}{
		"nobody asked":                    {rest{}, "CrashConsistent", "", true, true},
		"never, running":                  {rest{guest: never, before: agent}, "CrashConsistent", "", true, true},
		"never, stopped":                  {rest{guest: never}, "Offline", "", true, true},
		"never, unknown":                  {rest{guest: never, why: refused}, "CrashConsistent", "says no", true, true},
		"stopped":                         {rest{guest: best}, "Offline", "", true, true},
		"stopped, required":               {rest{guest: must}, "Offline", "", true, true},
		"started meanwhile":               {rest{guest: best, after: running}, "CrashConsistent", "was started while", true, true},
		"started meanwhile, required":     {rest{guest: must, after: running}, "CrashConsistent", "was started while", true, false},
		"second look failed":              {rest{guest: best, why: refused}, "QuiesceFailed", "says no", true, true},
		"no agent":                        {rest{guest: best, before: running}, "NoGuestAgent", "install qemu-guest-agent", true, true},
		"no agent, required":              {rest{guest: must, before: running}, "NoGuestAgent", "install qemu-guest-agent", false, false},
		"refused":                         {rest{guest: best, before: agent, why: refused}, "QuiesceFailed", "says no", true, true},
		"refused, required":               {rest{guest: must, before: agent, why: refused}, "QuiesceFailed", "says no", false, false},
		"frozen":                          {rest{guest: must, before: agent, asked: t0, cut: t0.Add(time.Second)}, "Frozen", "", true, true},
		"frozen, thaw failed":             {rest{guest: must, before: agent, asked: t0, cut: t0.Add(time.Second), why: refused}, "Frozen", "says no", true, true},
		"thawed before the last disk":     {rest{guest: best, before: agent, asked: t0, cut: t0.Add(10 * time.Second)}, "QuiesceFailed", "cut 10s after the guest was asked to freeze", true, true},
		"thawed before the last, reuired": {rest{guest: must, before: agent, asked: t0, cut: t0.Add(10 * time.Second)}, "QuiesceFailed", "thaws by itself after 10s", true, false},
		"paused":                          {rest{guest: best, before: pauses, asked: t0, cut: t0.Add(time.Second)}, "Paused", "", true, true},
		"paused as required":              {rest{guest: wanted, before: pauses, asked: t0, cut: t0.Add(time.Second)}, "Paused", "", true, true},
		"pause did not last":              {rest{guest: best, before: pauses, asked: t0, cut: t0.Add(time.Second), why: refused}, "QuiesceFailed", "says no", true, true},
		"pause did not last, required":    {rest{guest: wanted, before: pauses, asked: t0, cut: t0.Add(time.Second), why: refused}, "QuiesceFailed", "says no", true, false},
		"pause refused":                   {rest{guest: best, before: pauses, why: refused}, "QuiesceFailed", "says no", true, true},
		"pause refused, required":         {rest{guest: wanted, before: pauses, why: refused}, "QuiesceFailed", "says no", false, false},
		"cannot be paused":                {rest{guest: wanted, before: elsewhere}, "QuiesceFailed", "runs on node", false, false},
		"stopped, and a pod paused":       {rest{guest: best, paused: t0, others: shell}, "Paused", "the VM does not run; what else has its disks mounted was paused: container sh of pod maint", true, true},
		"the same, required":              {rest{guest: wanted, paused: t0, others: shell}, "Paused", "the VM does not run", true, true},
		"stopped, and no pod to pause":    {rest{guest: wanted, paused: t0}, "Offline", "", true, true},
		"stopped, and a pod not paused":   {rest{guest: best, otherwise: unpaused}, "QuiesceFailed", "the VM does not run, but what else has its disks may have written to them: container sh is stubborn", true, true},
		"the same, required, not paused":  {rest{guest: wanted, otherwise: unpaused}, "QuiesceFailed", "is stubborn", false, false},
		"stopped, a pod came":             {rest{guest: wanted, after: quiesce.Guest{UsedOn: []string{"n1"}}}, "CrashConsistent", "something got the disks of the VM", true, false},
		"stopped, a pod stays":            {rest{guest: best, before: quiesce.Guest{UsedOn: []string{"n1"}}, after: quiesce.Guest{UsedOn: []string{"n1"}}}, "Offline", "", true, true},
		"started beside a paused pod":     {rest{guest: best, after: running, paused: t0, others: shell}, "CrashConsistent", "was started while", true, true},
		"frozen, and a pod paused":        {rest{guest: best, before: agent, asked: t0, cut: t0.Add(time.Second), paused: t0, others: shell}, "Frozen", "what else has its disks mounted was paused: container sh of pod maint", true, true},
		"frozen, and a pod not paused":    {rest{guest: best, before: agent, asked: t0, cut: t0.Add(time.Second), otherwise: unpaused}, "Frozen", "what else has its disks may have written to them: container sh is stubborn", true, true},
		"the same, and the thaw failed":   {rest{guest: best, before: agent, asked: t0, cut: t0.Add(time.Second), why: refused, otherwise: unpaused}, "Frozen", "virt-launcher says no; what else has its disks may", true, true},
		"paused with a pod":               {rest{guest: wanted, before: pauses, asked: t0, cut: t0.Add(time.Second), others: shell}, "Paused", "what else has its disks mounted was paused: container sh of pod maint", true, true},
		"no agent, cannot be paused":      {rest{guest: best, before: elsewhere}, "NoGuestAgent", "in the VM; the VM runs on node", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, why := c.rest.reached()
			require.Equal(t, c.want, got)
			if c.says == "" {
				require.Empty(t, why)
			}
			require.Contains(t, why, c.says)
			require.Equal(t, c.hopeful, c.rest.hopeful())
			require.Equal(t, c.good, c.rest.good())
		})
	}
}

// askedGuest answers as it is told to.
type askedGuest struct {
	found  quiesce.Guest
	freeze func(context.Context) error
	thaw   func(context.Context) error
	thaws  int

	before, after hooks.Ran
	hooks         []string // that were run, in this order

	others     []string // who is paused, with the guest or alone
	hushOthers func(context.Context) error
	letOthers  func(context.Context) error
	limit      time.Duration // that they were last paused for
	still      int           // how often they are paused now

	// looks are what is found in turn, in place of found; the last one stays.
	looks []sighting
	here  string // this agent's node
}

func (a *askedGuest) Look(context.Context, v1alpha1.CutGuest, []v1alpha1.CutDisk) (quiesce.Guest, error) {
	if len(a.looks) == 0 {
		return a.found, nil
	}
	now := a.looks[0]
	if len(a.looks) > 1 {
		a.looks = a.looks[1:]
	}
	return now.guest, now.err
}

func (a *askedGuest) Elsewhere(_ v1alpha1.CutGuest, found quiesce.Guest) (string, quiesce.Own) {
	if found.Running && found.Node != a.here {
		return found.Node, quiesce.OwnPause
	}
	return "", ""
}

func (a *askedGuest) Freeze(ctx context.Context, _ v1alpha1.CutGuest, found quiesce.Guest) ([]string, error) {
	if found.Way == quiesce.ByPause {
		return a.others, a.freeze(ctx)
	}
	return nil, a.freeze(ctx)
}

func (a *askedGuest) FreezeOthers(ctx context.Context, _ v1alpha1.CutGuest, _ quiesce.Guest, limit time.Duration) ([]string, error) {
	a.limit = limit
	if err := a.hushOthers(ctx); err != nil {
		return nil, err
	}
	a.still++
	return a.others, nil
}

func (a *askedGuest) ThawOthers(ctx context.Context, _ v1alpha1.CutGuest) error {
	a.still--
	return a.letOthers(ctx)
}

func (a *askedGuest) Thaw(ctx context.Context, _ v1alpha1.CutGuest, _ quiesce.Guest) error {
	a.thaws++
	return a.thaw(ctx)
}

func (a *askedGuest) Hooks(context.Context, v1alpha1.CutGuest, quiesce.Guest) (hooks.Ran, func(context.Context) hooks.Ran) {
	a.hooks = append(a.hooks, "before")
	return a.before, func(ctx context.Context) hooks.Ran {
		a.hooks = append(a.hooks, "after")
		if ctx.Err() != nil {
			return hooks.Ran{Declared: true, Error: "nobody waited"}
		}
		return a.after
	}
}

type aSession struct{ ctx context.Context }

func (s aSession) ID() string               { return "n1-00000000" }
func (s aSession) Context() context.Context { return s.ctx }
func (s aSession) AcquireAll(context.Context, []string) (*lease.Held, error) {
	return nil, errors.New("not here")
}

func quiesceRun(ctx context.Context, g Guests) *run {
	return &run{
		Limits:  DefaultLimits(),
		Worker:  &Worker{Guests: g, Log: slog.New(slog.DiscardHandler)},
		job:     &v1alpha1.NodeJob{Spec: v1alpha1.NodeJobSpec{Cut: &v1alpha1.CutJob{}}},
		session: aSession{ctx},
	}
}

func fine(context.Context) error { return nil }

func TestAFrozenGuestIsAlwaysLetGo(t *testing.T) {
	hangs := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	failing := func(context.Context) error { return errors.New("no answer") }
	for name, c := range map[string]struct {
		freeze, thaw func(context.Context) error
		want         v1alpha1.Consistency
		atMost       time.Duration // until everything is over
	}{
		"as it should be":  {fine, fine, "Frozen", 0},
		"freeze refused":   {failing, fine, "QuiesceFailed", 0},
		"freeze hangs":     {hangs, fine, "QuiesceFailed", 10 * time.Second},
		"thaw fails":       {fine, failing, "Frozen", 11 * time.Second},
		"thaw hangs":       {fine, hangs, "Frozen", 10 * time.Second},
		"everything hangs": {hangs, hangs, "QuiesceFailed", 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &askedGuest{found: quiesce.Guest{Running: true, Agent: true, Way: quiesce.ByFreeze}, freeze: c.freeze, thaw: c.thaw}
				r := quiesceRun(t.Context(), g)
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				s := r.hush(ctx, cutGuest(v1alpha1.QuiesceBestEffort), nil)
				cancel() // the job ends in the middle: the guest is let go all the same
				r.let(ctx, &s)
				got, _ := s.reached()
				require.Equal(t, c.want, got)
				require.Positive(t, g.thaws)
				require.LessOrEqual(t, time.Since(began), c.atMost)
				require.LessOrEqual(t, s.frozen, 10*time.Second)
			})
		})
	}
}

// TestAnOldOwnerDoesNotThaw: whoever has the volumes by now may have frozen the
// guest for a cut of its own.
func TestAnOldOwnerDoesNotThaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over, end := context.WithCancelCause(t.Context())
		g := &askedGuest{found: quiesce.Guest{Running: true, Agent: true, Way: quiesce.ByFreeze}, freeze: fine, thaw: fine}
		g.thaw = func(ctx context.Context) error { return ctx.Err() }
		r := quiesceRun(over, g)
		s := r.hush(t.Context(), cutGuest(v1alpha1.QuiesceBestEffort), nil)
		end(lease.ErrFenced)
		synctest.Wait()
		r.let(t.Context(), &s)
		require.ErrorIs(t, s.why, lease.ErrFenced)
	})
}

// TestAPauseIsEndedWhoeverOwnsTheVolumes: the container is held by this process
// and by nobody else, and one that did not stand still is no good.
func TestAPauseIsEndedWhoeverOwnsTheVolumes(t *testing.T) {
	hangs := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	failing := func(context.Context) error { return errors.New("it was let go before") }
	for name, c := range map[string]struct {
		freeze, thaw func(context.Context) error
		want         v1alpha1.Consistency
		thaws        int
		atMost       time.Duration
	}{
		"as it should be":   {fine, fine, "Paused", 1, 0},
		"refused":           {failing, fine, "QuiesceFailed", 0, 0},
		"no answer":         {hangs, fine, "QuiesceFailed", 0, 10 * time.Second},
		"ended before":      {fine, failing, "QuiesceFailed", 1, 0},
		"no answer at last": {fine, hangs, "QuiesceFailed", 1, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				over, end := context.WithCancelCause(t.Context())
				g := &askedGuest{found: quiesce.Guest{Running: true, Way: quiesce.ByPause}, freeze: c.freeze, thaw: c.thaw}
				r := quiesceRun(over, g)
				began := time.Now()
				s := r.hush(t.Context(), cutGuest(v1alpha1.QuiesceBestEffort), nil)
				end(lease.ErrFenced)
				r.let(t.Context(), &s)
				got, _ := s.reached()
				require.Equal(t, c.want, got)
				require.Equal(t, c.thaws, g.thaws)
				require.LessOrEqual(t, time.Since(began), c.atMost)
			})
		})
	}
}

// TestOthersThatHaveTheDisks stand still too, under the same dead-man, and are let go
// whoever owns the volumes and whatever becomes of the guest.
func TestOthersThatHaveTheDisks(t *testing.T) {
	failing := func(context.Context) error { return errors.New("containerd says no") }
	hangs := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	slow := func(context.Context) error { time.Sleep(4 * time.Second); return nil }
	frozen := quiesce.Guest{Running: true, Agent: true, Way: quiesce.ByFreeze, Beside: []string{"pv"}}
	stopped := quiesce.Guest{Beside: []string{"pv"}}
	half := quiesce.Guest{Beside: []string{"pv"}, Unreached: "volume v is attached on node n2"}
	bare := quiesce.Guest{Running: true, Beside: []string{"pv"}}
	wanted := cutGuest(v1alpha1.QuiesceRequired)
	wanted.Method = v1alpha1.QuiescePause
	for name, c := range map[string]struct {
		found     quiesce.Guest
		guest     *v1alpha1.CutGuest
		freeze    func(context.Context) error
		hush, let func(context.Context) error
		want      v1alpha1.Consistency
		says      string
		limit     time.Duration // that they were paused for; 0: they were not asked
		good      bool
	}{
		"beside a frozen guest":        {frozen, nil, fine, fine, fine, "Frozen", "was paused: sh", 10 * time.Second, true},
		"after a freeze that was slow": {frozen, nil, slow, fine, fine, "Frozen", "was paused: sh", 6 * time.Second, true},
		"the freeze fails":             {frozen, nil, failing, fine, fine, "QuiesceFailed", "says no", 0, true},
		"they are refused":             {frozen, nil, fine, failing, fine, "Frozen", "may have written to them: containerd says no", 10 * time.Second, true},
		"they did not last":            {frozen, nil, fine, fine, failing, "Frozen", "is not certain: containerd says no", 10 * time.Second, true},
		"no answer":                    {frozen, nil, fine, hangs, fine, "Frozen", "may have written to them: context deadline exceeded", 10 * time.Second, true},
		"of a VM that is stopped":      {stopped, wanted, nil, fine, fine, "Paused", "does not run; what else", 10 * time.Second, true},
		"refused, stopped":             {stopped, nil, nil, failing, fine, "QuiesceFailed", "says no", 10 * time.Second, true},
		"refused, stopped, required":   {stopped, wanted, nil, failing, fine, "QuiesceFailed", "says no", 10 * time.Second, false},
		"some are elsewhere":           {half, nil, nil, fine, fine, "QuiesceFailed", "node n2", 10 * time.Second, true},
		"elsewhere, required":          {half, wanted, nil, fine, fine, "QuiesceFailed", "node n2", 0, false},
		"of a guest that cannot rest":  {bare, nil, nil, fine, fine, "NoGuestAgent", "install", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				over, end := context.WithCancelCause(t.Context())
				g := &askedGuest{found: c.found, freeze: c.freeze, thaw: fine, others: []string{"sh"}, hushOthers: c.hush, letOthers: c.let}
				r := quiesceRun(over, g)
				if c.guest == nil {
					c.guest = cutGuest(v1alpha1.QuiesceBestEffort)
				}
				s := r.hush(t.Context(), c.guest, nil)
				end(lease.ErrFenced)
				r.let(t.Context(), &s)
				got, why := s.reached()
				require.Equal(t, c.want, got, why)
				require.Contains(t, why, c.says)
				require.Equal(t, c.limit, g.limit)
				require.Equal(t, c.good, s.good())
				require.Zero(t, g.still, "what was paused goes on")
			})
		})
	}
}
