// Package machine makes several machines of one: each has a network, mounts, process ids and a host name of its own, and
// ends with all that runs in it. Kernel, processors, memory and cgroups are the real machine's. It knows nothing of what
// runs in a machine.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"hayloft.dev/deploy/local/proc"
)

const (
	startTimeout = 30 * time.Second      // it takes a few milliseconds
	startPoll    = 10 * time.Millisecond // how often it is looked at
)

// Machine is one that runs.
type Machine struct {
	Name string
	Dir  string // what it keeps on disk
	*proc.Process
}

func readyFile(dir string) string { return filepath.Join(dir, "ready") }

// Start starts a machine; holder is the command that calls Hold with its last two arguments, name and folder.
func Start(ctx context.Context, table *proc.Table, holder []string, name, dir string) (*Machine, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("starting machine %s: %w", name, err)
	}
	process, err := table.Start(proc.Spec{
		Kind: "machine", Name: name, Path: holder[0], Args: append(holder[1:], name, dir),
		Namespaces: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if _, err := os.Stat(readyFile(dir)); err == nil {
			return &Machine{Name: name, Dir: dir, Process: process}, nil
		}
		select {
		case <-process.Done():
			return nil, fmt.Errorf("starting machine %s, see its log: %w", name, errors.Join(errors.New("it ended at once"), process.Err()))
		case <-ctx.Done():
			return nil, fmt.Errorf("starting machine %s: %w", name, ctx.Err())
		case <-time.After(startPoll):
		}
	}
}

// Enter is the command line that runs a command in the machine with this process id of its holder.
func Enter(pid int, command ...string) []string {
	return enter(pid, []string{"--net", "--mount", "--pid", "--uts", "--ipc"}, command)
}

// EnterNetwork is the command line that runs a command in the machine's network and nothing else of it.
func EnterNetwork(pid int, command ...string) []string {
	return enter(pid, []string{"--net"}, command)
}

func enter(pid int, what, command []string) []string {
	args := append([]string{"nsenter", "--target", strconv.Itoa(pid)}, what...)
	return append(append(args, "--"), command...)
}

// Spec has a process run in the machine.
func (m *Machine) Spec(s proc.Spec) proc.Spec {
	return within(s, Enter(m.PID(), append([]string{s.Path}, s.Args...)...))
}

// NetworkSpec has a process run in the machine's network and nothing else of it.
func (m *Machine) NetworkSpec(s proc.Spec) proc.Spec {
	return within(s, EnterNetwork(m.PID(), append([]string{s.Path}, s.Args...)...))
}

func within(s proc.Spec, command []string) proc.Spec {
	s.Path, s.Args = command[0], command[1:]
	return s
}

// Run runs a command in the machine to its end.
func (m *Machine) Run(ctx context.Context, command ...string) error {
	return run(ctx, Enter(m.PID(), command...))
}

// RunInNetwork runs a command in the machine's network to its end.
func (m *Machine) RunInNetwork(ctx context.Context, command ...string) error {
	return run(ctx, EnterNetwork(m.PID(), command...))
}

func run(ctx context.Context, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(out))
	}
	return nil
}
