package lease_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"hayloft.dev/pkg/lease"
	"hayloft.dev/test/harness"
)

// frozenChild is set in the environment of the process that is frozen.
const frozenChild = "LEASE_TEST_FROZEN_CHILD"

type frozenOrder struct {
	Kubeconfig, Namespace string
}

// runFrozenChild holds a volume, says so, and tells what it believes when it is
// asked by a line on stdin.
func runFrozenChild() int {
	err := func() error {
		var o frozenOrder
		if err := json.Unmarshal([]byte(os.Getenv(frozenChild)), &o); err != nil {
			return err
		}
		config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
		if err != nil {
			return err
		}
		c, err := newClient(config)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var s *lease.Session
		var h *lease.Held
		for h == nil {
			if s, err = lease.Open(ctx, c, lease.Options{Namespace: o.Namespace, Node: "frozen", Duration: short}); err != nil {
				return err
			}
			if h, err = s.AcquireAll(ctx, []string{"v"}); err != nil && !errors.Is(err, lease.ErrFenced) {
				return err
			}
		}
		fmt.Println(s.ID())
		if !bufio.NewScanner(os.Stdin).Scan() {
			return errors.New("not asked")
		}
		check := h.Check(ctx)
		fmt.Println(errors.Is(check, lease.ErrFenced))
		<-s.Context().Done()
		fmt.Println(errors.Is(context.Cause(s.Context()), lease.ErrFenced))
		return errors.Join(h.Release(ctx), s.Close(ctx))
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestFrozenHolder stops a whole process while it holds a volume. When it goes
// on, the first thing it does must be to know that it lost the volume.
func TestFrozenHolder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	order, err := json.Marshal(frozenOrder{Kubeconfig: harness.Kubeconfig(t), Namespace: b.namespace})
	require.NoError(t, err)
	cmd := exec.CommandContext(b.ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), frozenChild+"="+string(order))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	said := bufio.NewScanner(stdout)
	next := func() string {
		require.True(t, said.Scan(), "the child ended")
		return said.Text()
	}

	child := next()
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	s, _, h := b.hold("other", "v")

	_, err = fmt.Fprintln(stdin, "what do you believe?")
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	assert.Equal(t, "true", next(), "its check says fenced")
	assert.Equal(t, "true", next(), "its context ended for the same reason")
	require.NoError(t, cmd.Wait(), "and it gives up in order")

	assert.NotEqual(t, child, s.ID())
	b.holds(s, h, "v") // the former holder did no harm
}
