package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/longhorn/backupstore"

	"hayloft.dev/coordinator/targetio/protocol"
)

// unlockTimeout bounds the removal of a lock when the operation's own time is
// over: a lock that stays keeps backups of its volume away for 150 s.
const unlockTimeout = time.Second

// Unwind is how long an operation whose context is over may take to end by itself.
// A lock's write that was begun goes on for as long: one that is cut off may take
// effect on the target after the lock's removal.
const Unwind = 500 * time.Millisecond

// Driver is a Store as backupstore wants it. backupstore takes a failed
// listing for an empty one, and would then free blocks that are in use: once
// anything failed, Driver frees no block any more.
//
// It holds the operation's context, since backupstore's calls carry none.
type Driver struct {
	ctx   context.Context
	store *Store

	mu     sync.Mutex
	failed error
	// locks that this process wrote and did not remove yet.
	locks map[string]bool
}

var _ backupstore.BackupStoreDriver = (*Driver)(nil)

// Driver gives the store to backupstore for one operation.
func (s *Store) Driver(ctx context.Context) *Driver {
	return &Driver{ctx: ctx, store: s, locks: map[string]bool{}}
}

// Err is the first failure since the driver was made.
func (d *Driver) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// note keeps a failure and returns it. That something is not there is none.
func (d *Driver) note(err error) error {
	if err == nil || errors.Is(err, ErrMissing) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed == nil {
		d.failed = err
	}
	return err
}

// Unlock removes the locks that are still held, or may be: a write that failed may
// have taken effect. The operation must have ended by then, or its context be over.
func (d *Driver) Unlock() {
	d.mu.Lock()
	var left []string
	for path := range d.locks {
		left = append(left, path)
	}
	d.mu.Unlock()
	for _, path := range left {
		_ = d.Remove(path)
	}
}

// Kind is the scheme under which the driver is registered.
func (d *Driver) Kind() string { return "hayloft" }

// GetURL is the target's URL.
func (d *Driver) GetURL() string { return d.store.url }

// FileExists tells whether a file is there; false after a failure, too.
func (d *Driver) FileExists(path string) bool { return d.FileSize(path) >= 0 }

// FileSize in bytes, -1 when the file is not there or the look-up failed.
func (d *Driver) FileSize(path string) int64 {
	i, err := d.stat(path)
	if err != nil {
		return -1
	}
	return i.size
}

// FileTime is when a file was written, by the target's clock.
func (d *Driver) FileTime(path string) time.Time {
	i, err := d.stat(path)
	if err != nil {
		return time.Time{}
	}
	return i.modified
}

func (d *Driver) stat(path string) (info, error) {
	if err := checkPath(path); err != nil {
		return info{}, d.note(err)
	}
	i, err := d.store.backend.stat(d.ctx, path)
	return i, d.note(err)
}

// Remove removes one file.
func (d *Driver) Remove(path string) error {
	ctx := d.ctx
	if isLockPath(path) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
	}
	if failed := d.Err(); failed != nil && isBlockPath(path) {
		return fmt.Errorf("no block is freed after a failure: %w", failed)
	}
	err := d.note(d.store.Remove(ctx, path))
	if err == nil {
		d.mu.Lock()
		delete(d.locks, path)
		d.mu.Unlock()
	}
	return err
}

// Read opens a file.
func (d *Driver) Read(path string) (io.ReadCloser, error) {
	if err := checkPath(path); err != nil {
		return nil, d.note(err)
	}
	r, err := d.store.backend.read(d.ctx, path)
	return r, d.note(err)
}

// Write replaces a file.
func (d *Driver) Write(path string, r io.ReadSeeker) error {
	if err := checkPath(path); err != nil {
		return d.note(err)
	}
	if err := d.store.writable(path); err != nil {
		return d.note(err)
	}
	if !isLockPath(path) {
		return d.note(d.store.backend.write(d.ctx, path, r))
	}
	if err := d.ctx.Err(); err != nil {
		return d.note(err)
	}
	d.mu.Lock()
	d.locks[path] = true
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.ctx))
	defer cancel()
	defer context.AfterFunc(d.ctx, func() { time.AfterFunc(Unwind, cancel) })()
	return d.note(d.store.backend.write(ctx, path, r))
}

// List names what is directly in a directory.
func (d *Driver) List(path string) ([]string, error) {
	names, err := d.store.List(d.ctx, path)
	return names, d.note(err)
}

// Upload is not needed to delete backups.
func (d *Driver) Upload(_, dst string) error { return d.note(unsupported("uploading " + dst)) }

// Download is not needed to delete backups.
func (d *Driver) Download(src, _ string) error { return d.note(unsupported("downloading " + src)) }

func unsupported(action string) error {
	return &protocol.Error{Reason: protocol.Internal, Message: action + ": the target worker moves no disk data"}
}

func isLockPath(path string) bool { return strings.Contains(path, "/locks/") }

func isBlockPath(path string) bool { return strings.Contains(path, "/blocks/") }
