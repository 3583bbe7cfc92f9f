// Package reload keeps what a program has read from mounted files in step with
// them while it runs: configuration, credentials, certificates. New content that
// cannot be read or used is refused and said, and what was in force stays so.
//
// Kubernetes exchanges the files of a mounted ConfigMap or Secret by renaming one
// symbolic link beside them, "..data". So folders are watched, since the file
// that was opened is the one that is removed; and since a watch can be lost, or
// not be had at all (the kernel limits them per user), files are also read again
// now and then whatever the watch says.
//
// It knows nothing of what the files mean.
package reload

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options say what is read. Files and Parse must be set.
type Options[T any] struct {
	// Files are read together, at most 1 MiB each, which is what a ConfigMap or
	// Secret holds.
	Files []string
	// Parse makes a value of their contents, in the order of Files. Its errors
	// are logged, so they must not quote what is secret.
	Parse func(contents [][]byte) (T, error)
	// Changed is called with each new value, after Get returns it, one at a time.
	Changed func(T)
	Log     *slog.Logger

	// Every is the time between two looks at the files that nothing asked for;
	// 30 s when it is not set.
	Every time.Duration
	// Settle is the shortest time between a change and a look, and between two
	// looks at content that is no good: files are not written in one go. 100 ms
	// when it is not set.
	Settle time.Duration
}

// Value is what the files say.
type Value[T any] struct {
	o       Options[T]
	value   atomic.Pointer[T]
	settled digest // of the content that was taken up or refused last
	doubted digest // of content that was no good when it was first looked at
}

type digest [sha256.Size]byte

const maxSize = 1 << 20

// Open reads the files for the first time, when anything wrong with them is an
// error.
func Open[T any](o Options[T]) (*Value[T], error) {
	if o.Every == 0 {
		o.Every = 30 * time.Second
	}
	if o.Settle == 0 {
		o.Settle = 100 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	v := &Value[T]{o: o}
	first, sum, err := v.read()
	if err != nil {
		return nil, err
	}
	v.value.Store(&first)
	v.settled = sum
	return v, nil
}

// Get is the newest value that was good.
func (v *Value[T]) Get() T { return *v.value.Load() }

// NeedLeaderElection lets a manager run this in every process.
func (*Value[T]) NeedLeaderElection() bool { return false }

// Start follows the files until ctx ends.
func (v *Value[T]) Start(ctx context.Context) error {
	w := v.watch()
	defer w.close()
	every := time.NewTicker(v.o.Every)
	defer every.Stop()
	settle := time.NewTimer(0) // what changed since Open
	defer settle.Stop()
	waiting := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.events:
		case err := <-w.errors:
			// Events may have been lost with it.
			v.o.Log.Debug("watching mounted files", "error", err)
		case <-every.C:
			// A folder that was made anew has no watch any more.
			w.add(v.folders())
		case <-settle.C:
			if waiting = v.look(); waiting {
				settle.Reset(v.o.Settle)
			}
			continue
		}
		if !waiting {
			waiting = true
			settle.Reset(v.o.Settle)
		}
	}
}

// look takes up what is new. It tells whether to look again soon, since what it
// saw is no good and may still be being written.
func (v *Value[T]) look() (again bool) {
	value, sum, err := v.read()
	switch {
	case sum == v.settled:
		return false
	case err != nil && sum != v.doubted:
		v.doubted = sum
		return true
	case err != nil:
		v.settled = sum
		v.o.Log.Warn("mounted files have changed and are refused; what was read before stays in force", "files", v.o.Files, "error", err)
		return false
	}
	v.settled, v.doubted = sum, digest{}
	v.value.Store(&value)
	v.o.Log.Info("mounted files have changed and are taken up", "files", v.o.Files)
	if v.o.Changed != nil {
		v.o.Changed(value)
	}
	return false
}

// read also tells contents apart by their digest, or errors where there is no
// content.
func (v *Value[T]) read() (value T, sum digest, err error) {
	hash := sha256.New()
	contents := make([][]byte, len(v.o.Files))
	for i, file := range v.o.Files {
		if contents[i], err = content(file); err != nil {
			fmt.Fprintf(hash, "error %d %s\n", i, err)
			return value, digest(hash.Sum(nil)), err
		}
		fmt.Fprintf(hash, "file %d %d\n", i, len(contents[i]))
		hash.Write(contents[i])
	}
	if value, err = v.o.Parse(contents); err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(v.o.Files, ", "), err)
	}
	return value, digest(hash.Sum(nil)), err
}

func content(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("reading a mounted file: %w", err)
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("%s has %d bytes: a mounted file has at most %d", file, info.Size(), maxSize)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a mounted file: %w", err)
	}
	return data, nil
}

func (v *Value[T]) folders() []string {
	var out []string
	for _, file := range v.o.Files {
		out = append(out, filepath.Dir(file))
	}
	return out
}

// watcher tells that something happened in a folder.
type watcher struct {
	w      *fsnotify.Watcher
	events <-chan fsnotify.Event // nil when there is no watch
	errors <-chan error
	log    *slog.Logger
}

func (v *Value[T]) watch() *watcher {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		v.o.Log.Warn("mounted files cannot be watched and are only looked at now and then", "every", v.o.Every, "error", err)
		return &watcher{log: v.o.Log}
	}
	out := &watcher{w: w, events: w.Events, errors: w.Errors, log: v.o.Log}
	out.add(v.folders())
	return out
}

// add watches folders; those that are watched already stay so.
func (w *watcher) add(folders []string) {
	if w.w == nil {
		return
	}
	for _, f := range folders {
		if err := w.w.Add(f); err != nil {
			w.log.Debug("watching a folder of mounted files", "folder", f, "error", err)
		}
	}
}

func (w *watcher) close() {
	if w.w != nil {
		_ = w.w.Close() // nothing is lost with it
	}
}
