package targetwork_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/test/enginetest"
)

func TestChildThatFailsIsInternal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, says string }{
		"exit status":     {"echo the cause >&2; exit 3", "exit status 3: the cause"},
		"no answer":       {"exit 0", "reading the target worker's answer"},
		"not JSON":        {"echo hello", "reading the target worker's answer"},
		"endless answer":  {"cat /dev/zero", "larger than"},
		"only the tail":   {"head -c 100000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1", "end"},
		"out of memory":   {"echo 'runtime: out of memory: cannot allocate 4194304-byte block' >&2; head -c 100000 /dev/zero | tr '\\0' x >&2; exit 2", "took more memory than it may"},
		"killed":          {"kill -9 $$", "signal: killed"},
		"missing program": {"", "starting the target worker"},
	} {
		caller := &targetwork.Caller{Path: script(t, c.body), Namespace: "n"}
		if c.body == "" {
			caller.Path = "/nonexistent/targetio"
		}
		_, err := caller.Probe(within(t, limit), directory("/"))
		failed(t, err, protocol.Internal, c.says)
		require.Less(t, len(err.Error()), 4000, name)
	}
}

func TestAnswerOfChild(t *testing.T) {
	t.Parallel()
	caller := &targetwork.Caller{Path: script(t, `echo '{"error":{"reason":"Locked","message":"later","transient":true}}'`), Namespace: "n"}
	_, err := caller.Probe(within(t, limit), directory("/"))
	failed(t, err, protocol.Locked, "later")
	require.True(t, transient(err))
	caller.Path = script(t, `echo '{}'`)
	require.NoError(t, outcome(caller.Probe(within(t, limit), directory("/"))))
	_, err = caller.ReadDocument(within(t, limit), directory("/"), readPoint("p", ""))
	failed(t, err, protocol.Internal, "lacks its result")
}

// A child that hangs, hears no signal and has children is gone, with them,
// when its time is over.
func TestHungChildIsKilledWithItsGroup(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pids")
	caller := &targetwork.Caller{Namespace: "n", Path: script(t, "trap '' TERM\nsh -c \"trap '' TERM; sleep 300\" &\necho $$ $! > "+pids+"\nwait\nsleep 300")}
	var op string
	var wall time.Duration
	caller.Observe = func(o string, w, _ time.Duration, _ error) { op, wall = o, w }
	var children []string
	for allowed := time.Second; len(children) < 2; allowed *= 3 { // a busy machine may not have started it in that time
		began := time.Now()
		_, err := caller.Probe(within(t, allowed), directory("/mnt"))
		failed(t, err, protocol.Timeout, "target directory: probe got no answer within")
		require.True(t, transient(err))
		require.Less(t, time.Since(began), allowed+limit, "it would sleep for five minutes")
		require.Equal(t, "probe", op)
		require.Greater(t, wall, allowed)
		require.Less(t, allowed, limit, "it never began")
		data, _ := os.ReadFile(pids)
		children = strings.Fields(string(data))
	}
	for _, pid := range children {
		enginetest.Eventually(t, limit, "process "+pid+" is gone", func() bool { return !running(pid) })
	}
}

func TestCancelledOperationEndsAtOnce(t *testing.T) {
	t.Parallel()
	started := filepath.Join(t.TempDir(), "started")
	caller := &targetwork.Caller{Namespace: "n", Path: script(t, "touch "+started+"; exec sleep 300")}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		enginetest.Eventually(t, limit, "the child runs", func() bool { _, err := os.Stat(started); return err == nil })
		cancel()
	}()
	_, err := caller.Probe(ctx, directory("/"))
	require.ErrorIs(t, err, context.Canceled)
	failed(t, err, protocol.Internal, "was ended")
	_, _, err = observed(caller, func() error { return outcome(caller.Probe(ctx, directory("/"))) })
	require.ErrorIs(t, err, context.Canceled, "a context that is over starts nothing")
}

// observed calls f and tells what Observe was told.
func observed(c *targetwork.Caller, f func() error) (wall, cpu time.Duration, err error) {
	c.Observe = func(_ string, w, cp time.Duration, _ error) { wall, cpu = w, cp }
	return wall, cpu, f()
}

func TestCPUIsMeasured(t *testing.T) {
	t.Parallel()
	caller := &targetwork.Caller{Namespace: "n", Path: script(t, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo '{}'")}
	var cpu, wall time.Duration
	caller.Observe = func(_ string, w, c time.Duration, err error) { wall, cpu = w, c; require.NoError(t, err) }
	require.NoError(t, outcome(caller.Probe(within(t, limit), directory("/"))))
	require.Greater(t, cpu, 20*time.Millisecond)
	require.GreaterOrEqual(t, wall, cpu/2)
}

// The child gets no variable of the coordinator's that it does not need, and
// no argument that tells what it works on.
func TestChildSeesLittle(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", canary)
	t.Setenv("SOMETHING_ELSE", canary)
	t.Setenv("NO_PROXY", "localhost")
	out := filepath.Join(t.TempDir(), "seen")
	caller := &targetwork.Caller{Namespace: "n", Kubeconfig: "k", Path: script(t, "{ env; echo \"args $*\"; } > "+out+"; echo '{}'")}
	require.NoError(t, outcome(caller.Probe(within(t, limit), directory("/mnt/backups"))))
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	require.NotContains(t, string(data), canary)
	require.NotContains(t, string(data), "/mnt/backups")
	require.Contains(t, string(data), "NO_PROXY=localhost")
	require.Contains(t, string(data), "args --kubeconfig k --namespace n\n")
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	caller := &targetwork.Caller{Namespace: "n", Path: script(t, "cat >/dev/null; echo '{}'")}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := caller.Probe(within(t, limit), directory("/")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
