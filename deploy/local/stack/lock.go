package stack

import (
	"context"
	"errors"
	"fmt"
	"os"

	"hayloft.dev/deploy/local/lock"
)

// lockDir takes the folder for this process.
func lockDir(l layout) (*os.File, error) {
	file, err := lock.Take(l.lock())
	if errors.Is(err, lock.ErrTaken) {
		return nil, fmt.Errorf("a stack is running in %s: end it with `hayloft-local down --dir %s`", l.dir, l.dir)
	}
	return file, err
}

// Down ends the stack in a folder and returns when it is gone. It says whether there was one.
func Down(ctx context.Context, dir string) (bool, error) {
	ended, err := lock.End(ctx, layout{dir: dir}.lock())
	if err != nil {
		return ended, fmt.Errorf("ending the stack in %s: %w", dir, err)
	}
	return ended, nil
}
