package enginetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is one program that a test runs. It dies with the test binary.
type Process struct {
	tb   testing.TB
	name string
	cmd  *exec.Cmd
	done chan struct{}
}

// launch starts a program whose output goes to a file in dir; its last lines
// are logged when the test fails.
func launch(tb testing.TB, dir, name string, cmd *exec.Cmd) *Process {
	tb.Helper()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		tb.Fatalf("creating the log of %s: %v", name, err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("starting %s: %v", name, err)
	}
	p := &Process{tb: tb, name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("last lines of %s:\n%s", name, tail(log.Name(), 15))
		}
	})
	return p
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends it as kill -9 does and waits until it is gone. It may have ended
// before.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended
	<-p.done
}

// Pause stops it with SIGSTOP: it accepts connections and answers nothing.
func (p *Process) Pause() {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.tb.Fatalf("pausing %s: %v", p.name, err)
	}
}

// Child is the id of the process's only child, such as a replica's sync agent.
func (p *Process) Child() int {
	p.tb.Helper()
	var children []string
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(p.PID()) + "/task/*/children")
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that ended since
		}
		children = append(children, strings.Fields(string(b))...)
	}
	if len(children) != 1 {
		p.tb.Fatalf("%s has the children %v, not one", p.name, children)
	}
	pid, err := strconv.Atoi(children[0])
	if err != nil {
		p.tb.Fatalf("child of %s: %v", p.name, err)
	}
	return pid
}

// Eventually polls ok until it is true and fails the test when that takes
// longer than limit.
func Eventually(tb testing.TB, limit time.Duration, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func tail(file string, lines int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
