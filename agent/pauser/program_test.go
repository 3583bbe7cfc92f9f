package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/pauser/wire"
	"hayloft.dev/test/containertest"
	"hayloft.dev/test/harness"
)

// patience is for what must happen, on however busy a machine.
const patience = 3 * time.Minute

// pauser is the program, on a containerd of the test's own.
type pauser struct {
	t      *testing.T
	ctrd   *containertest.Containerd
	listen string
	log    string
	args   []string
	cmd    *exec.Cmd
	ended  chan struct{}
}

func newPauser(t *testing.T, c *containertest.Containerd, args ...string) *pauser {
	t.Helper()
	dir, err := os.MkdirTemp("", "pauser") // a socket's path is short
	require.NoError(t, err)
	p := &pauser{t: t, ctrd: c, listen: filepath.Join(dir, "s"), log: filepath.Join(dir, "log"), args: args}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			log, _ := os.ReadFile(p.log)
			t.Logf("the pauser's log:\n%s", log)
		}
		_ = os.RemoveAll(dir)
	})
	p.start()
	return p
}

// on is the same pauser in a subtest.
func (p *pauser) on(t *testing.T) *pauser {
	return &pauser{t: t, listen: p.listen}
}

func (p *pauser) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(p.t, err)
	defer log.Close()
	p.cmd = exec.Command(harness.TestedBinary(p.t, "pauser"), append([]string{
		"--containerd-socket", p.ctrd.Socket, "--listen", p.listen, "--log-level", "debug",
	}, p.args...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	require.NoError(p.t, p.cmd.Start())
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(p.cmd, p.ended)
}

// kill is kill -9 of the parent; its worker learns of it.
func (p *pauser) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// worker is the process that holds; it waits for one other than before.
func (p *pauser) worker(before int) (pid int) {
	p.t.Helper()
	parent := p.cmd.Process.Pid
	await(p.t, "a worker", func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
		if err != nil {
			return false
		}
		for _, child := range strings.Fields(string(children)) {
			pid, err = strconv.Atoi(child)
			if err == nil && pid != before {
				return true
			}
		}
		// It was forked by another of the parent's threads.
		pid = childOf(parent)
		return pid != 0 && pid != before
	})
	return pid
}

// childOf finds a process by its parent.
func childOf(parent int) int {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state ppid; the name may hold anything but is the last in parentheses
		_, rest, _ := strings.Cut(string(data[strings.LastIndexByte(string(data), ')')+1:]), " ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) && fields[0] != "Z" {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// holding is a connection to the pauser.
type holding struct {
	t    *testing.T
	conn net.Conn
	in   *json.Decoder
}

// ask asks for a hold and returns the answer; asks asks for anything. They wait for
// a pauser that is on its way up.
func (p *pauser) ask(q wire.Request) (*holding, wire.Reply) {
	p.t.Helper()
	h, reply := p.asks(q)
	var r wire.Reply
	require.NoError(p.t, json.Unmarshal(reply, &r))
	return h, r
}

func (p *pauser) asks(q wire.Request) (h *holding, reply json.RawMessage) {
	p.t.Helper()
	var conn net.Conn
	await(p.t, "the pauser to listen", func() (ok bool) {
		c, err := net.Dial("unix", p.listen)
		conn = c
		return err == nil
	})
	p.t.Cleanup(func() { _ = conn.Close() })
	h = &holding{t: p.t, conn: conn, in: json.NewDecoder(conn)}
	require.NoError(p.t, conn.SetDeadline(time.Now().Add(patience)))
	require.NoError(p.t, json.NewEncoder(conn).Encode(q))
	require.NoError(p.t, h.in.Decode(&reply))
	return h, reply
}

func (p *pauser) pause(limit time.Duration, pods ...containertest.Pod) *holding {
	p.t.Helper()
	h, r := p.ask(request(limit, pods...))
	require.Empty(p.t, r.Error)
	return h
}

func request(limit time.Duration, pods ...containertest.Pod) wire.Request {
	q := wire.Request{Limit: limit, Container: "compute"}
	for _, pod := range pods {
		q.Pods = append(q.Pods, wire.Pod{Namespace: pod.Namespace, UID: pod.UID})
	}
	return q
}

// release ends the hold; it returns what was wrong with it.
func (h *holding) release() string {
	h.t.Helper()
	require.NoError(h.t, json.NewEncoder(h.conn).Encode(wire.Release{}))
	return h.released()
}

func (h *holding) released() string {
	h.t.Helper()
	var r wire.Released
	require.NoError(h.t, h.in.Decode(&r))
	return r.Error
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func pod(name string) containertest.Pod {
	return containertest.Pod{Namespace: "shop", Name: "virt-launcher-" + name, UID: "uid-of-" + name, Container: "compute"}
}

// TestContainersArePaused pauses containers of a real containerd.
func TestContainersArePaused(t *testing.T) {
	t.Parallel()
	c := containertest.Start(t)
	writer := containertest.Writer(t)
	p := newPauser(t, c, "--limit", "1m")

	t.Run("a cut sees no write of the second disk without that of the first", func(t *testing.T) {
		p := p.on(t)
		vm := c.Start(t, writer, "cut", pod("cut"))
		moved := 0
		var last uint64
		for range 200 {
			h := p.pause(time.Minute, pod("cut"))
			a, b := vm.Numbers()
			again, alsoB := vm.Numbers()
			require.Equal(t, [2]uint64{a, b}, [2]uint64{again, alsoB}, "nothing is written while it is paused")
			require.LessOrEqual(t, b, a, "the second disk is not ahead of the first")
			require.LessOrEqual(t, a-b, uint64(1), "no round is missing on the second disk")
			require.Empty(t, h.release())
			if a > last {
				moved++
			}
			last = a
			vm.AwaitWrites()
		}
		require.Equal(t, 200, moved, "it wrote between the cuts")
		require.False(t, vm.Paused())
	})
	t.Run("only the container that is meant", func(t *testing.T) {
		p := p.on(t)
		sandbox, sidecar, other := pod("meant"), pod("meant"), pod("meant")
		sandbox.Sandbox, sidecar.Container, other.UID = true, "hook-sidecar", "uid-of-another"
		vm := c.Start(t, writer, "meant", pod("meant"))
		var rest []*containertest.Container
		for id, pod := range map[string]containertest.Pod{"meant-sandbox": sandbox, "meant-sidecar": sidecar, "meant-other": other} {
			rest = append(rest, c.Start(t, writer, id, pod))
		}
		h := p.pause(time.Minute, pod("meant"))
		require.True(t, vm.Paused())
		for _, o := range rest {
			o.AwaitWrites()
		}
		require.Empty(t, h.release())

		h, r := p.ask(wire.Request{Pods: []wire.Pod{{Namespace: "shop", UID: "uid-of-meant"}}, Limit: time.Minute})
		require.Empty(t, r.Error)
		require.True(t, vm.Paused())
		for _, o := range rest {
			require.Equal(t, o.Name == "meant-sidecar", o.Paused(), "without a name all containers of the pod are meant, but the sandbox")
		}
		require.Empty(t, h.release())
		for _, q := range []wire.Request{
			request(time.Minute, containertest.Pod{Namespace: "elsewhere", UID: "uid-of-meant"}),
			request(time.Minute, containertest.Pod{Namespace: "shop", UID: "uid-of"}),
			request(time.Minute, pod("meant"), pod("unknown")), // all or none
		} {
			_, r := p.ask(q)
			require.Contains(t, r.Error, "does not run on this node")
			vm.AwaitWrites()
		}
		_, r = p.ask(wire.Request{Pods: []wire.Pod{{Namespace: "shop"}}})
		require.Contains(t, r.Error, "named by namespace and UID")
	})
	t.Run("what somebody else has paused stays so", func(t *testing.T) {
		p := p.on(t)
		vm := c.Start(t, writer, "foreign", pod("foreign"))
		vm.Pause()
		_, r := p.ask(request(time.Minute, pod("foreign")))
		require.Contains(t, r.Error, "paused already")
		require.True(t, vm.Paused())
	})
	t.Run("one cut at a time", func(t *testing.T) {
		p := p.on(t)
		vm := c.Start(t, writer, "twice", pod("twice"))
		h := p.pause(time.Minute, pod("twice"))
		_, r := p.ask(request(time.Minute, pod("twice")))
		require.Contains(t, r.Error, "paused already")
		require.True(t, vm.Paused())
		require.Empty(t, h.release())
		vm.AwaitWrites()
	})
	t.Run("who asked goes", func(t *testing.T) {
		p := p.on(t)
		vm := c.Start(t, writer, "gone", pod("gone"))
		h := p.pause(time.Minute, pod("gone"))
		require.True(t, vm.Paused())
		require.NoError(t, h.conn.Close()) // as the kernel does for a process that is killed
		vm.AwaitWrites()
	})
	t.Run("who asked hangs", func(t *testing.T) {
		p := p.on(t)
		vm := c.Start(t, writer, "hung", pod("hung"))
		h := p.pause(300*time.Millisecond, pod("hung"))
		vm.AwaitWrites()
		require.Contains(t, h.released(), "the time that a pause may take is over")
	})
	t.Run("somebody else lets it go", func(t *testing.T) {
		p := p.on(t)
		vm := c.Start(t, writer, "freed", pod("freed"))
		h := p.pause(time.Minute, pod("freed"))
		require.NoError(t, vm.Task.Resume(t.Context()))
		require.Contains(t, h.release(), "was not paused any more")
		vm.AwaitWrites()
	})
	t.Run("the container ends", func(t *testing.T) {
		p := p.on(t)
		vm := c.Start(t, writer, "ended", pod("ended"))
		h := p.pause(time.Minute, pod("ended"))
		exit, err := vm.Task.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, vm.Task.Resume(t.Context()))
		require.NoError(t, vm.Task.Kill(t.Context(), syscall.SIGKILL))
		<-exit
		require.Contains(t, h.release(), "was not paused any more")
	})
}

// TestWhoeverIsKilled: containers that are paused go on, whichever process ends.
func TestWhoeverIsKilled(t *testing.T) {
	t.Parallel()
	c := containertest.Start(t)
	writer := containertest.Writer(t)
	vm := c.Start(t, writer, "vm", pod("vm"))
	foreign := c.Start(t, writer, "foreign", pod("foreign"))
	foreign.Pause()
	p := newPauser(t, c, "--limit", "1m") // no pause ends by itself, on however busy a machine

	t.Log("the worker")
	{
		p.pause(time.Minute, pod("vm"))
		first := p.worker(0)
		require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
		vm.AwaitWrites()
		p.worker(first)
		require.Empty(t, p.pause(time.Minute, pod("vm")).release(), "the next worker does its work")
	}
	t.Log("the parent")
	{
		p.pause(time.Minute, pod("vm"))
		p.kill()
		vm.AwaitWrites()
		p.start()
	}
	t.Log("asked to end")
	{
		p.pause(time.Minute, pod("vm"))
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		<-p.ended
		require.Zero(t, p.cmd.ProcessState.ExitCode())
		vm.AwaitWrites()
		p.start()
	}
	t.Log("both at once")
	{
		p.pause(time.Minute, pod("vm"))
		worker := p.worker(0)
		require.NoError(t, syscall.Kill(p.cmd.Process.Pid, syscall.SIGSTOP)) // it must not start another
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		p.kill()
		require.True(t, vm.Paused(), "nobody is left")
		p.start()
		vm.AwaitWrites()
	}
	t.Log("containerd")
	{
		h := p.pause(time.Minute, pod("vm"))
		c.Kill()
		released := make(chan string, 1)
		go func() {
			if err := json.NewEncoder(h.conn).Encode(wire.Release{}); err != nil {
				released <- err.Error()
				return
			}
			var r wire.Released
			_ = h.in.Decode(&r)
			released <- r.Error
		}()
		c.Run()
		require.Empty(t, <-released)
		vm.AwaitWrites()
	}
	t.Log("containerd and the worker")
	{
		p.pause(time.Minute, pod("vm"))
		c.Kill()
		require.NoError(t, syscall.Kill(p.worker(0), syscall.SIGKILL))
		c.Run()
		vm.AwaitWrites()
	}
	require.True(t, foreign.Paused(), "what somebody else has paused stays so, whoever recovers")
	await(t, "no record to be left", func() bool {
		left, err := c.Client.Containers(t.Context(), `labels."hayloft.dev/paused-at"`)
		require.NoError(t, err)
		return len(left) == 0
	})
}
