package proc_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/deploy/local/proc"
)

// parentDir makes this test binary act as the program whose children must not outlive it.
const parentDir = "PROC_TEST_PARENT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentDir); dir != "" {
		actAsParent(dir)
		return
	}
	os.Exit(m.Run())
}

// actAsParent starts children from goroutines whose threads end, prints their ids and waits to be killed.
func actAsParent(dir string) {
	table := proc.NewTable(dir)
	for i := range 3 {
		started := make(chan *proc.Process)
		go func() {
			p, err := table.Start(proc.Spec{Kind: "sleep", Name: strconv.Itoa(i), Path: "/bin/sleep", Args: []string{"600"}})
			if err != nil {
				panic(err)
			}
			started <- p
		}()
		_, _ = os.Stdout.WriteString(strconv.Itoa((<-started).PID()) + "\n")
	}
	select {}
}

func TestChildrenDieWithAKilledParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentDir+"="+t.TempDir())
	output, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	t.Cleanup(func() { _ = parent.Process.Kill() })

	lines := bufio.NewScanner(output)
	var children []int
	for len(children) < 3 && lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		children = append(children, pid)
	}
	require.Len(t, children, 3)
	for _, pid := range children {
		require.True(t, alive(pid))
	}

	require.NoError(t, parent.Process.Signal(syscall.SIGKILL))
	_ = parent.Wait()
	for _, pid := range children {
		require.Eventually(t, func() bool { return !alive(pid) }, 5*time.Second, 10*time.Millisecond, "child %d outlived its parent", pid)
	}
}

func TestListShowsWhatRuns(t *testing.T) {
	table := newTable(t)
	b := sleeper(t, table, "replica", "b")
	sleeper(t, table, "replica", "a")
	sleeper(t, table, "engine", "z")
	require.Equal(t, []string{"engine/z", "replica/a", "replica/b"}, names(table))

	b.Kill()
	require.Equal(t, []string{"engine/z", "replica/a"}, names(table))
	require.Error(t, b.Err(), "killed is not a clean end")
	b.Stop(time.Second) // one that has ended is left alone
}

func TestOneOfAName(t *testing.T) {
	table := newTable(t)
	first := sleeper(t, table, "replica", "a")
	_, err := table.Start(proc.Spec{Kind: "replica", Name: "a", Path: "/bin/sleep", Args: []string{"600"}})
	require.ErrorContains(t, err, "running")
	first.Kill()
	sleeper(t, table, "replica", "a")
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	table := newTable(t)
	deaf, err := table.Start(proc.Spec{Kind: "deaf", Name: "a", Path: "/bin/sh", Args: []string{"-c", `trap "" TERM; echo ready; while :; do sleep 1; done`}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(logText(t, table, "deaf-a"), "ready") }, 5*time.Second, 10*time.Millisecond)
	deaf.Stop(50 * time.Millisecond)
	var exit *exec.ExitError
	require.True(t, errors.As(deaf.Err(), &exit))
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
}

func TestStopAllEndsFrozenOnesAndRefusesNewOnes(t *testing.T) {
	table := newTable(t)
	frozen := sleeper(t, table, "sleep", "frozen")
	sleeper(t, table, "sleep", "other")
	require.NoError(t, syscall.Kill(frozen.PID(), syscall.SIGSTOP))

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	table.StopAll(ctx)
	require.Empty(t, table.List())
	require.False(t, alive(frozen.PID()))
	_, err := table.Start(proc.Spec{Kind: "sleep", Name: "late", Path: "/bin/sleep", Args: []string{"600"}})
	require.ErrorIs(t, err, proc.ErrStopped)
}

func TestLogsAndEnvironment(t *testing.T) {
	table := newTable(t)
	for range 2 {
		p, err := table.Start(proc.Spec{Kind: "echo", Name: "a", Path: "/bin/sh", Args: []string{"-c", "echo $WORD; echo err >&2"}, Env: []string{"WORD=hay"}})
		require.NoError(t, err)
		require.NoError(t, p.Err())
	}
	require.Equal(t, "hay\nerr\nhay\nerr\n", logText(t, table, "echo-a"), "both streams, and a second start appends")
}

func TestRefusals(t *testing.T) {
	table := newTable(t)
	for name, spec := range map[string]proc.Spec{
		"no kind":         {Name: "a", Path: "/bin/true"},
		"no name":         {Kind: "a", Path: "/bin/true"},
		"path in a name":  {Kind: "a", Name: "../../etc/x", Path: "/bin/true"},
		"missing program": {Kind: "a", Name: "a", Path: "/nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := table.Start(spec)
			require.Error(t, err)
			require.Empty(t, table.List())
		})
	}
}

// testTable remembers where its logs are.
type testTable struct {
	*proc.Table
	dir string
}

func newTable(t *testing.T) testTable {
	dir := t.TempDir()
	table := testTable{Table: proc.NewTable(dir), dir: dir}
	t.Cleanup(func() { table.StopAll(context.Background()) })
	return table
}

func sleeper(t *testing.T, table testTable, kind, name string) *proc.Process {
	t.Helper()
	p, err := table.Start(proc.Spec{Kind: kind, Name: name, Path: "/bin/sleep", Args: []string{"600"}})
	require.NoError(t, err)
	return p
}

func names(table testTable) []string {
	var all []string
	for _, info := range table.List() {
		all = append(all, info.Kind+"/"+info.Name)
	}
	return all
}

func logText(t *testing.T, table testTable, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(table.dir, name+".log"))
	require.NoError(t, err)
	return string(data)
}

// alive says whether a process runs. One that has ended and was not yet waited for does not.
func alive(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(rest, "Z")
}
