// Package proc starts and ends the processes of the local stack. A process that it started never outlives the program,
// not even one that is killed with SIGKILL, has its own log file, and is listed with what it is for.
// It does not restart anything: whoever needs a process to be there watches Done.
package proc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopGrace is how long StopAll lets a process end by itself. An engine needs a moment to close its replicas' files.
const stopGrace = 5 * time.Second

// ErrStopped is the answer to a Start after StopAll.
var ErrStopped = errors.New("the process table is stopped")

// Spec says what to start.
type Spec struct {
	Kind, Name string   // together unique among the running ones; they name the log file
	Path       string   // the program
	Args       []string // without the program's name
	Env        []string // added to the environment of this process, NAME=value
	Dir        string   // working folder; "" is this process's
	Namespaces uintptr  // of its own, as the flags of clone(2); 0 is none
	Labels     map[string]string
}

// Info describes a running process.
type Info struct {
	Kind   string            `json:"kind"`
	Name   string            `json:"name"`
	PID    int               `json:"pid"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Table holds the running processes. It is safe for concurrent use and lives as long as the program: when its forking
// thread ended, the kernel would kill every child.
type Table struct {
	logDir string
	forks  chan func()

	mu      sync.Mutex
	stopped bool
	running map[string]*Process // kind/name -> process
}

// NewTable makes an empty table whose processes write their logs to logDir.
func NewTable(logDir string) *Table {
	t := &Table{logDir: logDir, forks: make(chan func()), running: map[string]*Process{}}
	// The kernel sends the parent-death signal when the forking thread ends, not when the process does, and Go ends
	// threads as it pleases. So there is one thread that forks and never ends.
	go func() {
		runtime.LockOSThread()
		for fork := range t.forks {
			fork()
		}
	}()
	return t
}

// Start starts a process. Its output is appended to <logDir>/<kind>-<name>.log.
func (t *Table) Start(s Spec) (*Process, error) {
	p, err := t.start(s)
	if err != nil {
		return nil, fmt.Errorf("starting %s %s: %w", s.Kind, s.Name, err)
	}
	return p, nil
}

func (t *Table) start(s Spec) (*Process, error) {
	if s.Kind == "" || s.Name == "" || strings.ContainsRune(s.Kind+s.Name, filepath.Separator) {
		return nil, errors.New("kind and name must be given and cannot hold a path")
	}
	if err := os.MkdirAll(t.logDir, 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(t.logDir, s.Kind+"-"+s.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own

	cmd := exec.Command(s.Path, s.Args...)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: ctrl-C in a terminal reaches only the program, which then ends its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Cloneflags: s.Namespaces}

	key := s.Kind + "/" + s.Name
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return nil, ErrStopped
	}
	if _, taken := t.running[key]; taken {
		return nil, errors.New("one of that name is running")
	}
	started := make(chan error, 1)
	t.forks <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	p := &Process{
		info: Info{Kind: s.Kind, Name: s.Name, PID: cmd.Process.Pid, Labels: maps.Clone(s.Labels)},
		cmd:  cmd,
		done: make(chan struct{}),
	}
	t.running[key] = p
	go func() {
		p.err = cmd.Wait()
		t.mu.Lock()
		delete(t.running, key)
		t.mu.Unlock()
		close(p.done)
	}()
	return p, nil
}

// List describes the running processes, sorted by kind and name.
func (t *Table) List() []Info {
	t.mu.Lock()
	defer t.mu.Unlock()
	infos := make([]Info, 0, len(t.running))
	for _, p := range t.running {
		infos = append(infos, p.Info())
	}
	slices.SortFunc(infos, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return infos
}

// StopAll ends every process and refuses new ones. Those that are not gone in time, or when ctx ends, are killed.
// It returns when all are gone.
func (t *Table) StopAll(ctx context.Context) {
	t.mu.Lock()
	t.stopped = true
	all := slices.Collect(maps.Values(t.running))
	t.mu.Unlock()

	var gone sync.WaitGroup
	for _, p := range all {
		gone.Go(func() { p.stop(ctx, stopGrace) })
	}
	gone.Wait()
}
