// Package keep has a program do its work in a child and start it again when it
// is killed. Parent and child never both hold what matters: the child works, the
// parent only waits, and the child learns of the parent's death.
//
// In a pod the parent is the container's first process. A child that is killed
// is replaced at once, without the kubelet, and the new one puts right what the
// killed one could not.
package keep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// endTime is how long a child that was asked to end may take.
	endTime = 15 * time.Second
	// restartFloor and restartCeiling are between two starts of a child.
	restartFloor, restartCeiling = 100 * time.Millisecond, 2 * time.Second
	// steady is how long a child has run for the pause to begin small again.
	steady = 10 * time.Second
)

// Run runs a program of this path and arguments, again and again, until ctx ends
// or it ends by itself. The child's standard input ends when this process does.
func Run(ctx context.Context, log *slog.Logger, path string, args ...string) error {
	for wait := restartFloor; ; {
		began := time.Now()
		err := once(ctx, path, args)
		if exit := (*exec.ExitError)(nil); err == nil || ctx.Err() != nil || !errors.As(err, &exit) || exit.ExitCode() == 1 {
			return err
		}
		// It was killed, or it panicked.
		log.Error("the worker was killed; starting another", "error", err)
		if time.Since(began) > steady {
			wait = restartFloor
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		wait = min(2*wait, restartCeiling)
	}
}

// once runs the program to its end.
func once(ctx context.Context, path string, args []string) error {
	in, alive, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	defer alive.Close()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endTime
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		return fmt.Errorf("starting the worker: %w", err)
	}
	// A child that ended well after it was asked to is told of as ctx's end.
	if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the worker (process %d) ended: %w", cmd.Process.Pid, err)
	}
	return nil
}

// Kept is ctx that also ends when the parent does.
func Kept(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ctx
}
