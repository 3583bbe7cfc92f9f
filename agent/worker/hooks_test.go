package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/agent/quiesce"
	"hayloft.dev/pkg/api/v1alpha1"
)

func TestHooksDecide(t *testing.T) {
	must, may := &hooks.Hook{Must: true}, &hooks.Hook{}
	fine, bad := hooks.Ran{Declared: true, Took: 1200 * time.Millisecond}, hooks.Ran{Declared: true, Error: "/bin/flush ended with exit code 3", Took: time.Second}
	for name, c := range map[string]struct {
		h             hooked
		stops, spoils string
		told          []v1alpha1.HookStatus
	}{
		"none":              {hooked{}, "", "", nil},
		"not understood":    {hooked{vm: "ns/web", wrong: errors.New("annotation x")}, "the hooks of VM ns/web are not understood: annotation x", "", nil},
		"both well":         {hooked{declared: hooks.Hooks{Before: must, After: must}, before: fine, after: fine}, "", "", []v1alpha1.HookStatus{{Hook: "pre", Message: "ended well after 1.2s"}, {Hook: "post", Message: "ended well after 1.2s"}}},
		"before fails":      {hooked{vm: "ns/web", declared: hooks.Hooks{Before: must}, before: bad}, "the hook pre.hook.hayloft.dev of VM ns/web failed, and its on-error is Fail: /bin/flush ended with exit code 3", "", []v1alpha1.HookStatus{{Hook: "pre", Failed: true, Message: "/bin/flush ended with exit code 3 (after 1s)"}}},
		"before may fail":   {hooked{declared: hooks.Hooks{Before: may}, before: bad}, "", "", []v1alpha1.HookStatus{{Hook: "pre", Failed: true, Message: "/bin/flush ended with exit code 3 (after 1s)"}}},
		"afterwards fails":  {hooked{vm: "ns/web", declared: hooks.Hooks{After: must}, after: bad}, "", "the hook post.hook.hayloft.dev of VM ns/web failed", []v1alpha1.HookStatus{{Hook: "post", Failed: true, Message: "/bin/flush ended with exit code 3 (after 1s)"}}},
		"afterwards may":    {hooked{declared: hooks.Hooks{Before: must, After: may}, before: fine, after: bad}, "", "", []v1alpha1.HookStatus{{Hook: "pre", Message: "ended well after 1.2s"}, {Hook: "post", Failed: true, Message: "/bin/flush ended with exit code 3 (after 1s)"}}},
		"only the pod says": {hooked{before: fine}, "", "", []v1alpha1.HookStatus{{Hook: "pre", Message: "ended well after 1.2s"}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []struct {
				err  error
				want string
			}{{c.h.stops(), c.stops}, {c.h.spoils(), c.spoils}} {
				if v.want == "" {
					require.NoError(t, v.err)
					continue
				}
				require.ErrorContains(t, v.err, v.want)
				f := (*failure)(nil)
				require.ErrorAs(t, v.err, &f)
				require.Equal(t, v1alpha1.ReasonHookFailed, f.reason)
			}
			require.Equal(t, c.told, c.h.statuses())
		})
	}
}

// observedHooks is an Observer of hooks that end well.
type observedHooks struct {
	Observer
	hooks []string
}

func (o *observedHooks) Hooked(hook string, well bool, _ time.Duration) {
	if well {
		o.hooks = append(o.hooks, hook)
	}
}

// TestHooksAreRun: for which guests, and what is for afterwards in any case.
func TestHooksAreRun(t *testing.T) {
	declares := hooks.Hooks{Before: &hooks.Hook{Must: true}}
	for name, c := range map[string]struct {
		found  quiesce.Guest
		policy v1alpha1.QuiescePolicy
		want   []string
		looked bool // the look is good for the cut
	}{
		"declared":        {quiesce.Guest{Running: true, Hooks: declares}, v1alpha1.QuiesceBestEffort, []string{"before", "after"}, false},
		"none":            {quiesce.Guest{Running: true}, v1alpha1.QuiesceRequired, nil, true},
		"not understood":  {quiesce.Guest{Running: true, HooksWrong: errors.New("bad")}, v1alpha1.QuiesceRequired, nil, true},
		"stopped":         {quiesce.Guest{Hooks: declares}, v1alpha1.QuiesceRequired, nil, true},
		"not to be asked": {quiesce.Guest{Running: true, Hooks: declares}, v1alpha1.QuiesceNever, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := &askedGuest{found: c.found, before: hooks.Ran{Declared: true}, after: hooks.Ran{Declared: true}}
			ctx, cancel := context.WithCancel(t.Context())
			r := quiesceRun(ctx, g)
			observed := &observedHooks{}
			r.Observer = observed
			h, seen := r.beforeCuts(ctx, cutGuest(c.policy), &sighting{guest: c.found})
			cancel() // the job ends in the middle
			r.afterCuts(ctx, &h)
			require.Equal(t, c.want, g.hooks)
			if c.want != nil {
				require.Equal(t, []string{"pre", "post"}, observed.hooks)
			}
			require.Equal(t, c.looked, seen != nil)
			require.Empty(t, h.after.Error)
		})
	}
	h, seen := quiesceRun(t.Context(), &askedGuest{}).beforeCuts(t.Context(), nil, nil)
	require.Nil(t, seen)
	require.NoError(t, h.stops())
}
