package hold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/pauser/wire"
)

// node is a node's containers: one a pod, under the pod's UID.
type node struct {
	mu     sync.Mutex
	paused map[string]bool
	pauses func(ctx context.Context, id string) error // before a pause has effect
	fails  int                                        // calls of Resume that fail before one is answered
	calls  []string

	users  []string                        // that have any volume mounted, but those that a request excepts
	comes  map[string]string               // when that one is paused, this one has been started meanwhile
	listed func(ctx context.Context) error // before an answer on users

	refuses     bool // to find what is paused
	annotations map[string]string
	ran         func(ctx context.Context, command string) error
}

func (n *node) Find(_ context.Context, pod wire.Pod, _ string) ([]string, error) {
	if pod.UID == "unknown" {
		return nil, errors.New("does not run on this node")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuses && n.paused[pod.UID] {
		return nil, fmt.Errorf("container %s %w", pod.UID, ErrPaused)
	}
	return []string{pod.UID}, nil
}

func (n *node) Pause(ctx context.Context, id string) error {
	if n.pauses != nil {
		if err := n.pauses(ctx, id); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, "pause "+id)
	n.paused[id] = true
	if next := n.comes[id]; next != "" {
		n.users = append(n.users, next)
	}
	return nil
}

func (n *node) Resume(_ context.Context, id string) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails > 0 {
		n.fails--
		return false, errors.New("containerd is away")
	}
	held := n.paused[id]
	n.calls = append(n.calls, "resume "+id)
	delete(n.paused, id)
	return held, nil
}

func (n *node) Users(ctx context.Context, u wire.Users) (all []User, err error) {
	if n.listed != nil {
		if err := n.listed(ctx); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range n.users {
		if !slices.Contains(u.Except, id) {
			all = append(all, User{ID: id, Name: "container of " + id})
		}
	}
	return all, nil
}

func (n *node) Left(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ids []string
	for id := range n.paused {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

func (n *node) Annotations(context.Context, wire.Pod) (map[string]string, error) {
	return n.annotations, nil
}

func (n *node) Run(ctx context.Context, id string, command []string) error {
	n.mu.Lock()
	n.calls = append(n.calls, command[0]+" in "+id)
	ran := n.ran
	n.mu.Unlock()
	if ran == nil {
		return nil
	}
	return ran(ctx, command[0])
}

func (n *node) stands() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.paused)
}

func newServer(n *node) *Server {
	n.paused = map[string]bool{}
	return &Server{Containers: n, Limit: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}
}

// client is one who asks.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *json.Decoder
}

func (s *Server) dial(ctx context.Context, t *testing.T) client {
	here, there := net.Pipe()
	s.holds.Go(func() {
		defer there.Close()
		s.serve(ctx, there)
	})
	return client{t: t, conn: here, in: json.NewDecoder(here)}
}

func (c client) send(message any) {
	require.NoError(c.t, json.NewEncoder(c.conn).Encode(message))
}

func (c client) paused() string {
	return c.reply().Error
}

func (c client) reply() (r wire.Reply) {
	require.NoError(c.t, c.in.Decode(&r))
	return r
}

func (c client) released() string {
	var r wire.Released
	require.NoError(c.t, c.in.Decode(&r))
	return r.Error
}

func pods(limit time.Duration, uids ...string) wire.Request {
	q := wire.Request{Limit: limit}
	for _, uid := range uids {
		q.Pods = append(q.Pods, wire.Pod{Namespace: "ns", UID: uid})
	}
	return q
}

func TestTheDeadManLetsGo(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		3 * time.Second: 3 * time.Second,
		time.Minute:     10 * time.Second, // the server's own
		0:               10 * time.Second,
	} {
		t.Run(asked.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{}
				c := newServer(n).dial(t.Context(), t)
				defer c.conn.Close()
				began := time.Now()
				c.send(pods(asked, "a", "b"))
				require.Empty(t, c.paused())
				require.Equal(t, 2, n.stands())
				require.Contains(t, c.released(), "time that a pause may take is over")
				require.Equal(t, want, time.Since(began))
				require.Zero(t, n.stands())
			})
		})
	}
}

func TestAHoldEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{fails: 5}
		s := newServer(n)
		c := s.dial(t.Context(), t)
		c.send(pods(time.Second, "a"))
		require.Empty(t, c.paused())
		require.NoError(t, c.conn.Close())
		s.holds.Wait() // it is let go although containerd was away for a while
		require.Zero(t, n.stands())
	})
}

func TestAllOrNone(t *testing.T) {
	refusing := func(_ context.Context, id string) error {
		if id == "b" {
			return errors.New("is paused already")
		}
		return nil
	}
	for name, c := range map[string]struct {
		q      wire.Request
		pauses func(context.Context, string) error
		says   string
	}{
		"one is unknown":    {pods(0, "a", "unknown"), nil, "does not run"},
		"one is refused":    {pods(0, "a", "b", "c"), refusing, "paused already"},
		"no pod":            {pods(0), nil, "names no pod"},
		"a pod without UID": {pods(0, ""), nil, "named by namespace and UID"},
		"no answer": {pods(0, "a"), func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return fmt.Errorf("%w: %w", ErrUncertain, context.Cause(ctx))
		}, "not known"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{pauses: c.pauses}
				who := newServer(n).dial(t.Context(), t)
				defer who.conn.Close()
				who.send(c.q)
				require.Contains(t, who.paused(), c.says)
				require.Zero(t, n.stands())
				if name == "no answer" {
					require.Equal(t, []string{"resume a"}, n.calls, "it may have been paused all the same")
				}
			})
		})
	}
}

func TestWhatSomebodyElseLetGoIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{}
		c := newServer(n).dial(t.Context(), t)
		defer c.conn.Close()
		c.send(pods(0, "a"))
		require.Empty(t, c.paused())
		_, err := n.Resume(t.Context(), "a")
		require.NoError(t, err)
		c.send(wire.Release{})
		require.Contains(t, c.released(), "was not paused any more")
	})
}

func TestOneHoldAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{}
		s := newServer(n)
		first, second := s.dial(t.Context(), t), s.dial(t.Context(), t)
		defer first.conn.Close()
		defer second.conn.Close()
		first.send(pods(0, "a"))
		require.Empty(t, first.paused())
		second.send(pods(0, "a"))
		synctest.Wait()
		first.send(wire.Release{})
		require.Empty(t, first.released())
		require.Empty(t, second.paused())
		second.send(wire.Release{})
		require.Empty(t, second.released())
		require.Equal(t, []string{"pause a", "resume a", "pause a", "resume a"}, n.calls)
	})
}

func TestEndAndRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{}
		s := newServer(n)
		ctx, end := context.WithCancel(t.Context())
		c := s.dial(ctx, t)
		defer c.conn.Close()
		c.send(pods(0, "a"))
		require.Empty(t, c.paused())
		end()
		require.Contains(t, c.released(), "the pauser is ending")
		require.NoError(t, s.wait())
		require.Zero(t, n.stands())

		n.paused["b"], n.fails = true, 3
		next := &Server{Containers: n, Limit: time.Second, Log: s.Log}
		require.NoError(t, next.Recover(t.Context()))
		next.holds.Wait()
		require.Zero(t, n.stands())

		n.fails = 1 << 30
		n.paused["c"] = true
		require.NoError(t, next.Recover(t.Context()))
		require.ErrorContains(t, next.wait(), "still paused")
		n.mu.Lock()
		n.fails = 0
		n.mu.Unlock()
		next.holds.Wait()
	})
}
