package proc

import (
	"context"
	"maps"
	"os/exec"
	"syscall"
	"time"
)

// Process is a started process.
type Process struct {
	info Info
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; written before done is closed
}

// Info describes the process.
func (p *Process) Info() Info {
	info := p.info
	info.Labels = maps.Clone(info.Labels)
	return info
}

// PID is the process's id. After Done it may be another's.
func (p *Process) PID() int { return p.info.PID }

// Done is closed when the process has ended and was removed from the table.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended, nil for exit status 0. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Stop asks the process to end (SIGTERM), kills it after grace, and returns when it is gone.
func (p *Process) Stop(grace time.Duration) { p.stop(context.Background(), grace) }

// Kill ends the process and its children at once (SIGKILL to its group) and returns when it is gone.
func (p *Process) Kill() {
	p.signalGroup(syscall.SIGKILL)
	<-p.done
}

func (p *Process) stop(ctx context.Context, grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	p.Kill()
}

func (p *Process) signalGroup(signal syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.info.PID, signal) // an error means that it has ended
	}
}
