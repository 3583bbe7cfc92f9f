package e2e

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay stands between agents and the pauser.
type relay struct {
	t                testing.TB
	listen, upstream string
	listener         net.Listener

	mu     sync.Mutex
	strike func()
}

func newRelay(t testing.TB, upstream string) *relay {
	t.Helper()
	r := &relay{t: t, listen: filepath.Join(filepath.Dir(upstream), "r"), upstream: upstream}
	listener, err := net.Listen("unix", r.listen)
	require.NoError(t, err)
	r.listener = listener
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		r.refuse()
		all.Wait()
	})
	return r
}

// onPaused has something done once, when a container has just been paused and the
// agent does not know yet. done is closed when that was.
func (r *relay) onPaused(strike func()) (done <-chan struct{}) {
	struck := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strike = func() {
		defer close(struck)
		strike()
	}
	return struck
}

// refuse takes no connection any more.
func (r *relay) refuse() { _ = r.listener.Close() }

// serve hands messages on, both ways, until either side is gone.
func (r *relay) serve(agent net.Conn) {
	defer agent.Close()
	pauser, err := net.Dial("unix", r.upstream)
	if err != nil {
		return // the agent sees a connection that ends
	}
	defer pauser.Close()
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		defer pauser.Close() // as when an agent ends that has connected by itself
		_, _ = io.Copy(pauser, agent)
	})
	answers := bufio.NewReader(pauser)
	for {
		line, err := answers.ReadBytes('\n')
		if err != nil {
			_ = agent.Close()
			return
		}
		r.mu.Lock()
		strike := r.strike
		r.strike = nil
		r.mu.Unlock()
		if strike != nil {
			strike()
		}
		if _, err := agent.Write(line); err != nil {
			return
		}
	}
}
