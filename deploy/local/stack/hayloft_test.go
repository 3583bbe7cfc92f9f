package stack

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/deploy/local/proc"
)

func TestKeepRunningStartsAgainUntilTheEnd(t *testing.T) {
	table := proc.NewTable(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var said []string
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, fmt.Sprintf(format, args...))
	}
	pid := func() int {
		if list := table.List(); len(list) == 1 {
			return list[0].PID
		}
		return 0
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		keepRunning(ctx, table, program{spec: proc.Spec{Kind: "agent", Name: "node-1", Path: "/bin/sleep", Args: []string{"600"}}}, say)
	}()
	require.Eventually(t, func() bool { return pid() != 0 }, 10*time.Second, 10*time.Millisecond)
	first := pid()
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Eventually(t, func() bool { return pid() != 0 && pid() != first }, 10*time.Second, 10*time.Millisecond)

	cancel()
	<-ended
	table.StopAll(t.Context())
	require.Zero(t, pid())
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, strings.Join(said, "\n"), "agent node-1 ended")
}

func TestProgramsHaveAddressesOfTheirOwn(t *testing.T) {
	kubeconfigs := map[string]string{"agent-node-1": "/k/agent-node-1", "agent-node-2": "/k/agent-node-2", "agent-node-3": "/k/agent-node-3", "coordinator": "/k/coordinator", "targetio": "/k/targetio"}
	agents, leaders, err := hayloftPrograms("/bin", Nodes(), kubeconfigs, &Service{Backends: []string{"127.0.0.1:1", "127.0.0.1:2"}}, &Service{Backends: []string{"127.0.0.1:3", "127.0.0.1:4"}}, "debug")
	require.NoError(t, err)
	require.Len(t, agents, 3)
	require.Len(t, leaders, 2)
	urls := map[string]bool{}
	for _, p := range append(agents, leaders...) {
		urls[p.url] = true
		require.Contains(t, strings.Join(p.spec.Args, " "), strings.TrimPrefix(p.url, "http://"))
		require.Contains(t, strings.Join(p.spec.Args, " "), "--kubeconfig /k/"+p.spec.Kind)
	}
	require.Len(t, urls, 5)
}
