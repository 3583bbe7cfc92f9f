package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	downTimeout = 60 * time.Second       // a stack ends in about 3 s
	downPoll    = 100 * time.Millisecond // how often it is looked at
)

// lockDir takes the folder for this process. The kernel lets go of it when the process ends, however that happens;
// the file's content, the process id, is for down.
func lockDir(l layout) (*os.File, error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("taking the folder: %w", err)
	}
	file, err := os.OpenFile(l.lock(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("taking the folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("a stack is running in %s: end it with `hayloft-local down --dir %s`", l.dir, l.dir)
	}
	err = file.Truncate(0)
	if err == nil {
		_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("taking the folder: %w", err)
	}
	return file, nil
}

// Down ends the stack in a folder and returns when it is gone. It says whether there was one.
func Down(ctx context.Context, dir string) (bool, error) {
	l := layout{dir: dir}
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	asked := false
	for {
		pid, err := lockHolder(l)
		if err != nil {
			return asked, fmt.Errorf("ending the stack in %s: %w", dir, err)
		}
		if pid == 0 {
			return asked, nil
		}
		if !asked {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("ending the stack in %s: asking process %d to end: %w", dir, pid, err)
			}
			asked = true
		}
		select {
		case <-ctx.Done():
			return asked, fmt.Errorf("ending the stack in %s: process %d is still there: %w", dir, pid, ctx.Err())
		case <-time.After(downPoll):
		}
	}
}

// lockHolder is the process that holds the folder, or 0.
func lockHolder(l layout) (int, error) {
	file, err := os.Open(l.lock())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close() // also lets go of the lock, if it was free
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0, nil
	}
	data, err := os.ReadFile(l.lock())
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s does not hold a process id", l.lock())
	}
	return pid, nil
}
