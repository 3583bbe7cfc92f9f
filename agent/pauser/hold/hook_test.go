package hold

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/agent/pauser/wire"
)

func hooking(n *node) *Server {
	s := newServer(n)
	s.Hooks, n.refuses = true, true
	if n.annotations == nil {
		n.annotations = map[string]string{hooks.Before + "/command": "flush", hooks.Before + "/timeout": "3s", hooks.After + "/command": "go-on"}
	}
	return s
}

func (c client) ran() wire.Ran {
	var r wire.Ran
	require.NoError(c.t, c.in.Decode(&r))
	return r
}

var hooksOf = wire.Request{Hooks: true, Pods: []wire.Pod{{Namespace: "ns", UID: "a"}}}

func TestHooksAroundACut(t *testing.T) {
	hangs := func(ctx context.Context, command string) error {
		if command == "flush" {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	}
	for name, c := range map[string]struct {
		node          *node
		before, after string // what is said of the hooks; "": all went well
	}{
		"as it should be": {&node{}, "", ""},
		"before fails": {&node{ran: func(_ context.Context, command string) error {
			return map[string]error{"flush": errors.New("exit code 3")}[command]
		}}, "exit code 3", ""},
		"afterwards fails": {&node{ran: func(_ context.Context, command string) error {
			return map[string]error{"go-on": errors.New("exit code 4")}[command]
		}}, "", "exit code 4"},
		"before hangs": {&node{ran: hangs}, "its timeout of 3s is over", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				who := hooking(c.node).dial(t.Context(), t)
				defer who.conn.Close()
				who.send(hooksOf)
				before := who.ran()
				require.True(t, before.Declared)
				require.Equal(t, c.before, before.Error)
				require.Equal(t, []string{"flush in a"}, c.node.calls)
				who.send(wire.Release{})
				after := who.ran()
				require.True(t, after.Declared)
				require.Equal(t, c.after, after.Error)
				require.Equal(t, []string{"flush in a", "go-on in a"}, c.node.calls)
			})
		})
	}
}

// TestWhatIsForAfterwardsIsRun whoever is gone.
func TestWhatIsForAfterwardsIsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{}
		s := hooking(n)
		t.Log("who asked is killed while the container is paused")
		hold := s.dial(t.Context(), t)
		asks := s.dial(t.Context(), t)
		asks.send(hooksOf)
		require.Empty(t, asks.ran().Error)
		hold.send(pods(0, "a"))
		require.Empty(t, hold.paused())
		require.NoError(t, asks.conn.Close())
		synctest.Wait()
		require.Equal(t, []string{"flush in a", "pause a"}, n.calls, "nothing is run in a container that stands still")
		require.NoError(t, hold.conn.Close())
		s.holds.Wait()
		require.Equal(t, []string{"flush in a", "pause a", "resume a", "go-on in a"}, n.calls)

		t.Log("it hangs")
		n.calls = nil
		asks = s.dial(t.Context(), t)
		began := time.Now()
		asks.send(hooksOf)
		require.Empty(t, asks.ran().Error)
		require.Empty(t, asks.ran().Error)
		require.Equal(t, cutTime, time.Since(began))
		require.Equal(t, []string{"flush in a", "go-on in a"}, n.calls)

		t.Log("this program ends")
		n.calls = nil
		ctx, end := context.WithCancel(t.Context())
		asks = s.dial(ctx, t)
		asks.send(hooksOf)
		require.Empty(t, asks.ran().Error)
		end()
		require.Empty(t, asks.ran().Error)
		require.NoError(t, s.wait())
		require.Equal(t, []string{"flush in a", "go-on in a"}, n.calls)
	})
}

func TestHooksAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		off         bool
		pods        []wire.Pod
		annotations map[string]string
		says        string
	}{
		"not allowed":    {true, hooksOf.Pods, nil, "runs no hooks (--hooks)"},
		"no pod":         {false, nil, nil, "hooks are of one pod"},
		"two pods":       {false, []wire.Pod{{Namespace: "ns", UID: "a"}, {Namespace: "ns", UID: "b"}}, nil, "hooks are of one pod"},
		"pod by halves":  {false, []wire.Pod{{Namespace: "ns"}}, nil, "named by namespace and UID"},
		"not understood": {false, hooksOf.Pods, map[string]string{hooks.After + "/command": "[]"}, "annotation post.hook.hayloft.dev/command"},
		"gone":           {false, []wire.Pod{{Namespace: "ns", UID: "unknown"}}, nil, "does not run on this node"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{annotations: c.annotations}
				s := hooking(n)
				s.Hooks = !c.off
				who := s.dial(t.Context(), t)
				who.send(wire.Request{Hooks: true, Pods: c.pods})
				require.Contains(t, who.ran().Error, c.says)
				require.NoError(t, who.conn.Close())
				s.holds.Wait()
				require.Empty(t, n.calls)
			})
		})
	}
}

// TestUndeclaredHooks: a pod that declares none is asked nothing.
func TestUndeclaredHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{annotations: map[string]string{"other": "x"}}
		who := hooking(n).dial(t.Context(), t)
		defer who.conn.Close()
		who.send(hooksOf)
		require.Equal(t, wire.Ran{}, who.ran())
		who.send(wire.Release{})
		require.Equal(t, wire.Ran{}, who.ran())
		require.Empty(t, n.calls)
	})
}
