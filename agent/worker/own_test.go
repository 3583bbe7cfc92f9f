package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/quiesce"
	"hayloft.dev/pkg/api/v1alpha1"
)

// TestTheGuestsOwnAgentIsWaitedFor until the job's deadline, and no longer than
// the guest stays where only that one can bring it to rest.
func TestTheGuestsOwnAgentIsWaitedFor(t *testing.T) {
	here := sighting{guest: quiesce.Guest{Running: true, Node: "n1"}}
	there := sighting{guest: quiesce.Guest{Running: true, Node: "n2"}}
	further := sighting{guest: quiesce.Guest{Running: true, Node: "n3"}}
	unknown := sighting{err: errors.New("no answer")}
	stopped := sighting{}
	for name, c := range map[string]struct {
		looks  []sighting
		reason string // "": this agent cuts
		says   string
		called []string // nodes whose agents were waited for
		took   time.Duration
	}{
		"it is here":               {[]sighting{here}, "", "", nil, 0},
		"it is stopped":            {[]sighting{stopped}, "", "", nil, 0},
		"nobody knows":             {[]sighting{unknown}, "", "", nil, 0},
		"nobody comes":             {[]sighting{there}, "QuiesceFailed", "policy Required asks for: it runs on node n2, only the agent there can pause it, and that one has not taken the cut up within 1m46s", []string{"n2"}, 106 * time.Second},
		"nobody knows for a while": {[]sighting{there, unknown, unknown, here}, "VolumeWanted", "not so any more that VM ns/web runs on node n2", []string{"n2"}, 6 * time.Second},
		"it migrates here":         {[]sighting{there, here}, "VolumeWanted", "not so any more that VM ns/web runs on node n2", []string{"n2"}, 2 * time.Second},
		"it migrates elsewhere":    {[]sighting{there, there, further, here}, "VolumeWanted", "not so any more that VM ns/web runs on node n3", []string{"n2", "n3"}, 6 * time.Second},
		"it is stopped meanwhile":  {[]sighting{there, stopped}, "VolumeWanted", "not so any more that VM ns/web runs on node n2", []string{"n2"}, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, errDeadline)
				defer cancel()
				r := quiesceRun(t.Context(), &askedGuest{looks: c.looks, here: "n1"})
				g := cutGuest(v1alpha1.QuiesceRequired)
				var called []string
				began := time.Now()
				err := r.awaitOwn(ctx, g, r.look(ctx, g), func(node, message string) error {
					require.Contains(t, message, "waiting: VM ns/web runs on node "+node)
					called = append(called, node)
					return nil
				})
				require.Equal(t, c.called, called)
				require.Equal(t, c.took, time.Since(began))
				if c.reason == "" {
					require.NoError(t, err)
					return
				}
				f := classify(ctx, err)
				require.Equal(t, c.reason, f.reason)
				require.ErrorContains(t, f, c.says)
			})
		})
	}
	require.NoError(t, quiesceRun(t.Context(), nil).awaitOwn(t.Context(), nil, nil, nil), "nobody asked")
	hooks := classify(t.Context(), unheard(cutGuest(v1alpha1.QuiesceBestEffort), "n2", quiesce.OwnHooks, time.Minute))
	require.Equal(t, v1alpha1.ReasonHookFailed, hooks.reason)
	require.ErrorContains(t, hooks, "the hooks of VM web were not run")
	others := classify(t.Context(), unheard(cutGuest(v1alpha1.QuiesceRequired), "n2", quiesce.OwnOthers, time.Minute))
	require.Equal(t, v1alpha1.ReasonQuiesceFailed, others.reason)
	require.ErrorContains(t, others, "VM web does not run, but what has its disks was not paused, which spec.quiesce.policy Required asks for: it is on node n2, only the agent there can pause that")
}

// TestAWaitEndsWithTheJob: whoever is given the job must not wait for this agent.
func TestAWaitEndsWithTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := quiesceRun(t.Context(), &askedGuest{looks: []sighting{{guest: quiesce.Guest{Running: true, Node: "n2"}}}, here: "n1"})
		g := cutGuest(v1alpha1.QuiesceRequired)
		time.AfterFunc(time.Second, func() { cancel(errWithdrawn) })
		require.ErrorIs(t, r.awaitOwn(ctx, g, r.look(ctx, g), func(string, string) error { return nil }), errWithdrawn)
		outdated := func(string, string) error { return errOutdated }
		require.ErrorIs(t, r.awaitOwn(t.Context(), g, r.look(t.Context(), g), outdated), errOutdated)
	})
}
