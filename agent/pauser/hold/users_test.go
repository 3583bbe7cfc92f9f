package hold

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/pauser/wire"
)

// of asks for pods, and for whoever has volumes mounted beside them.
func of(uids ...string) wire.Request {
	q := pods(0, uids...)
	q.Users = &wire.Users{Namespace: "ns", Volumes: []string{"pvc-1"}, Except: uids}
	return q
}

// TestUsersAreHeldToo: with the pods that are named, or without any, and all or none.
func TestUsersAreHeldToo(t *testing.T) {
	refusing := func(_ context.Context, id string) error {
		if id == "x" {
			return errors.New("is paused by somebody else")
		}
		return nil
	}
	nowhere, anything := of(), of()
	nowhere.Users.Namespace, anything.Users.Volumes = "", []string{"pvc-1", ""}
	for name, c := range map[string]struct {
		n     *node
		q     wire.Request
		calls []string // until the hold ends
		users []string // who is named beside
		says  string   // why there is no hold
	}{
		"beside the VM":          {&node{users: []string{"b", "a", "vm"}}, of("vm"), []string{"pause a", "pause b", "pause vm"}, []string{"container of b", "container of a"}, ""},
		"without it":             {&node{users: []string{"a"}}, of(), []string{"pause a"}, []string{"container of a"}, ""},
		"nobody":                 {&node{}, of(), nil, nil, ""},
		"nobody but the VM":      {&node{users: []string{"vm"}}, of("vm"), []string{"pause vm"}, nil, ""},
		"one that comes":         {&node{users: []string{"a"}, comes: map[string]string{"vm": "late"}}, of("vm"), []string{"pause a", "pause vm", "pause late"}, []string{"container of a", "container of late"}, ""},
		"ever more":              {&node{users: []string{"a"}, comes: map[string]string{"a": "b", "b": "c", "c": "d", "d": "e", "e": "f"}}, of(), nil, nil, "more and more containers"},
		"one is refused":         {&node{users: []string{"a", "x"}, pauses: refusing}, of("vm"), nil, nil, "paused by somebody else"},
		"containerd is away":     {&node{listed: func(context.Context) error { return errors.New("no answer") }}, of("vm"), nil, nil, "no answer"},
		"of no namespace":        {&node{}, nowhere, nil, nil, "told by namespace and volumes"},
		"of a volume of no name": {&node{}, anything, nil, nil, "told by namespace and volumes"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				who := newServer(c.n).dial(t.Context(), t)
				defer who.conn.Close()
				who.send(c.q)
				r := who.reply()
				require.Equal(t, c.users, r.Users)
				if c.says != "" {
					require.Contains(t, r.Error, c.says)
					require.Zero(t, c.n.stands(), "what was paused is let go")
					return
				}
				require.Empty(t, r.Error)
				require.Equal(t, c.calls, c.n.calls)
				who.send(wire.Release{})
				require.Empty(t, who.released())
				require.Zero(t, c.n.stands())
			})
		})
	}
}

// TestOneThatCameMeanwhile was not held, and who asked learns of it.
func TestOneThatCameMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{users: []string{"a"}}
		c := newServer(n).dial(t.Context(), t)
		defer c.conn.Close()
		c.send(of("vm"))
		require.Empty(t, c.paused())
		n.mu.Lock()
		n.users = append(n.users, "late")
		n.mu.Unlock()
		c.send(wire.Release{})
		require.Equal(t, "container of late was started meanwhile", c.released())
		require.Zero(t, n.stands())
	})
}

// TestTheLookAtTheEndHoldsNobody longer than the dead-man does.
func TestTheLookAtTheEndHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{users: []string{"a"}}
		c := newServer(n).dial(t.Context(), t)
		defer c.conn.Close()
		began := time.Now()
		c.send(of("vm"))
		require.Empty(t, c.paused())
		n.listed = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		c.send(wire.Release{})
		require.Contains(t, c.released(), "time that a pause may take is over")
		require.Equal(t, 10*time.Second, time.Since(began))
		require.Zero(t, n.stands())
	})
}

// TestTwoHoldsOfTheSameUsers follow on each other, in whatever order they ask.
func TestTwoHoldsOfTheSameUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{users: []string{"b", "a"}}
		s := newServer(n)
		first, second := s.dial(t.Context(), t), s.dial(t.Context(), t)
		defer first.conn.Close()
		defer second.conn.Close()
		first.send(of("z"))
		require.Empty(t, first.paused())
		second.send(of("0"))
		synctest.Wait()
		require.Equal(t, 3, n.stands(), "the other VM is not paused while it waits")
		first.send(wire.Release{})
		require.Empty(t, first.released())
		require.Empty(t, second.paused())
		second.send(wire.Release{})
		require.Empty(t, second.released())
		require.Zero(t, n.stands())
	})
}

// TestARefusalKeepsNothing from who asks next: neither what was paused, nor what was
// to be.
func TestARefusalKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{users: []string{"a", "b", "c"}}
		n.pauses = func(_ context.Context, id string) error {
			if id == "b" {
				return errors.New("no")
			}
			return nil
		}
		s := newServer(n)
		first, next := s.dial(t.Context(), t), s.dial(t.Context(), t)
		defer first.conn.Close()
		defer next.conn.Close()
		first.send(of())
		require.Equal(t, "container of b: no", first.paused())
		n.pauses = nil
		next.send(of())
		require.Empty(t, next.paused())
		require.Equal(t, 3, n.stands())
	})
}
