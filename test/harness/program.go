package harness

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// killTimeout is how long a killed process may take to be gone. One that is in the kernel for longer is a bug to see.
const killTimeout = 10 * time.Second

// Program is a process under test: an agent or a coordinator.
type Program struct {
	Kind, Name string
	URL        string // where it serves /metrics, and a coordinator /healthz and /readyz

	log   string
	start func() (*exec.Cmd, error)
	again string // what it says last when it ends for a reason for which it is started anew; empty if for none
	done  chan struct{}
	err   error // how it ended; written before done is closed

	mu    sync.Mutex
	cmd   *exec.Cmd
	asked bool // to end
}

// forker starts processes from one thread that lives as long as this process: the kernel sends a parent-death signal
// when the forking thread ends, and Go ends threads as it pleases.
var forker = sync.OnceValue(func() chan<- func() {
	forks := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fork := range forks {
			fork()
		}
	}()
	return forks
})

// startProgram starts a process that ends with this one. Its output is appended to the log. One that ends by itself
// with the words of again is started anew, as the kubelet would; with no words none is.
func startProgram(kind, name, url, log, path string, args, env []string, again string) (*Program, error) {
	start := func() (*exec.Cmd, error) {
		output, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, err
		}
		defer output.Close() // the child has its own
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), env...)
		cmd.Stdout, cmd.Stderr = output, output
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		started := make(chan error, 1)
		forker() <- func() { started <- cmd.Start() }
		if err := <-started; err != nil {
			return nil, fmt.Errorf("starting %s %s: %w", kind, name, err)
		}
		return cmd, nil
	}
	var from int64
	if earlier, err := os.Stat(log); err == nil {
		from = earlier.Size()
	}
	cmd, err := start()
	if err != nil {
		return nil, err
	}
	p := &Program{Kind: kind, Name: name, URL: url, log: log, start: start, again: again, cmd: cmd, done: make(chan struct{})}
	go p.watch(from)
	return p, nil
}

// watch waits for the end of the process, and of those that are started after it. Its log begins at an offset.
func (p *Program) watch(from int64) {
	defer close(p.done)
	for {
		p.mu.Lock()
		cmd := p.cmd
		p.mu.Unlock()
		p.err = cmd.Wait()
		said, to := p.saidSince(from)
		from = to
		if p.again == "" || !strings.Contains(said, p.again) || !p.startAgain() {
			return
		}
	}
}

// startAgain starts the process anew if nobody has asked it to end.
func (p *Program) startAgain() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked {
		return false
	}
	cmd, err := p.start()
	if err != nil {
		p.err = err
		return false
	}
	p.cmd = cmd
	return true
}

// saidSince is what the log has from an offset on, and where it ends.
func (p *Program) saidSince(from int64) (string, int64) {
	data, err := os.ReadFile(p.log)
	if err != nil || int64(len(data)) < from {
		return "", from // the test is over
	}
	return string(data[from:]), int64(len(data))
}

// PID is the process's id.
func (p *Program) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Done is closed when the process has ended.
func (p *Program) Done() <-chan struct{} { return p.done }

// Err is how the process ended. It waits for the end.
func (p *Program) Err() error {
	<-p.done
	return p.err
}

// Running says whether the process has not ended.
func (p *Program) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Kill is kill -9: of this process alone, as the kernel's out-of-memory killer would. It returns when it is gone.
func (p *Program) Kill(t testing.TB) {
	t.Helper()
	p.toEnd()
	p.signal(t, syscall.SIGKILL)
	p.wait(t, killTimeout)
}

// KillAll is kill -9 of this process and its children at once, as when the memory of their container runs out. It
// returns when this process is gone.
func (p *Program) KillAll(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(-p.toEnd(), syscall.SIGKILL); err != nil && p.Running() {
		t.Fatalf("killing %s %s and its children: %v", p.Kind, p.Name, err)
	}
	p.wait(t, killTimeout)
}

// Stop asks the process to end (SIGTERM) and fails the test if it does not within the grace.
func (p *Program) Stop(t testing.TB, grace time.Duration) {
	t.Helper()
	p.toEnd()
	p.signal(t, syscall.SIGTERM)
	p.wait(t, grace)
}

// Freeze stops the process where it is (SIGSTOP).
func (p *Program) Freeze(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
}

// Continue lets a frozen process go on (SIGCONT).
func (p *Program) Continue(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGCONT)
}

// Log is what the process has written so far, and those of the same name before it.
func (p *Program) Log(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Arguments are what every user of the machine can see of the process.
func (p *Program) Arguments() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.cmd.Args, " ")
}

// toEnd notes that the process is asked to end, so that it is not started anew, and returns its id.
func (p *Program) toEnd() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
	return p.cmd.Process.Pid
}

func (p *Program) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	p.mu.Lock()
	process := p.cmd.Process
	p.mu.Unlock()
	if err := process.Signal(s); err != nil && p.Running() {
		t.Fatalf("sending %s to %s %s: %v", s, p.Kind, p.Name, err)
	}
}

func (p *Program) wait(t testing.TB, limit time.Duration) {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		t.Fatalf("%s %s is still there after %s", p.Kind, p.Name, limit)
	}
}

// end kills the process and its children, if it is there, for a test's clean-up.
func (p *Program) end() {
	if pid := p.toEnd(); p.Running() {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // an error means that it has ended
	}
	<-p.done
}
