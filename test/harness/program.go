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

	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; written before done is closed
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

// startProgram starts a process that ends with this one. Its output is appended to the log.
func startProgram(kind, name, url, log, path string, args, env []string) (*Program, error) {
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
	p := &Program{Kind: kind, Name: name, URL: url, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process's id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

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
	p.signal(t, syscall.SIGKILL)
	p.wait(t, killTimeout)
}

// KillAll is kill -9 of this process and its children at once, as when the memory of their container runs out. It
// returns when this process is gone.
func (p *Program) KillAll(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && p.Running() {
		t.Fatalf("killing %s %s and its children: %v", p.Kind, p.Name, err)
	}
	p.wait(t, killTimeout)
}

// Stop asks the process to end (SIGTERM) and fails the test if it does not within the grace.
func (p *Program) Stop(t testing.TB, grace time.Duration) {
	t.Helper()
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
func (p *Program) Arguments() string { return strings.Join(p.cmd.Args, " ") }

func (p *Program) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && p.Running() {
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
	if p.Running() {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // an error means that it has ended
	}
	<-p.done
}
