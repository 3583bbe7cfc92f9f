// Package lock keeps two programs from using one folder, and ends the one that does. What is in the folder is not its
// concern.
package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	endTimeout = 60 * time.Second       // a stack ends in about 3 s
	endPoll    = 100 * time.Millisecond // how often it is looked at
)

// ErrTaken is the answer to a Take of a folder that a running program has.
var ErrTaken = errors.New("a program is running there")

// Take takes the folder of a lock file for this process. The kernel lets go of it when the process ends, however that
// happens; the file's content, the process id, is for End.
func Take(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("taking the folder: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("taking the folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, ErrTaken
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

// End asks the program that has the folder of a lock file to end and returns when it is gone. It says whether there
// was one.
func End(ctx context.Context, path string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	asked := false
	for {
		pid, err := holder(path)
		if err != nil || pid == 0 {
			return asked, err
		}
		if !asked {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("asking process %d to end: %w", pid, err)
			}
			asked = true
		}
		select {
		case <-ctx.Done():
			return asked, fmt.Errorf("process %d is still there: %w", pid, ctx.Err())
		case <-time.After(endPoll):
		}
	}
}

// holder is the process that holds the folder, or 0.
func holder(path string) (int, error) {
	file, err := os.Open(path)
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
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s does not hold a process id", path)
	}
	return pid, nil
}
