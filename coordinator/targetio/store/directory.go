package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"hayloft.dev/coordinator/targetio/protocol"
)

// makeTries bounds how often a write makes its directory anew when someone
// else removes it, empty, at the same time.
const makeTries = 5

// directory is a target under root. A system call on a hung mount cannot be
// interrupted: the operation's deadline ends the process then.
type directory struct {
	root     string
	requests *atomic.Int64
	// mounted says what is wrong with the mount; nil: it is no mount.
	mounted func() error
}

func (d directory) local(path string) string { return filepath.Join(d.root, filepath.FromSlash(path)) }

// check tells a target that is not there from a file that is not there.
func (d directory) check() error {
	if d.mounted != nil {
		if err := d.mounted(); err != nil {
			return err
		}
	}
	st, err := os.Stat(d.root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &protocol.Error{Reason: protocol.NotFound, Message: fmt.Sprintf(
			"directory %s does not exist here: create or mount it on every node and where the coordinator runs", d.root)}
	case err != nil:
		return fileError("opening "+d.root, err)
	case !st.IsDir():
		return &protocol.Error{Reason: protocol.NotFound, Message: fmt.Sprintf("%s is not a directory: set spec.directory.path to one", d.root)}
	}
	return nil
}

func (d directory) list(_ context.Context, dir string) ([]string, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	d.requests.Add(1)
	entries, err := os.ReadDir(d.local(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fileError("listing "+d.local(dir), err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// walk does not follow links: what they lead to is not on the target.
func (d directory) walk(ctx context.Context, dir string, see func(File) error) error {
	if err := d.check(); err != nil {
		return err
	}
	return filepath.WalkDir(d.local(dir), func(local string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			return nil // it was removed meanwhile
		case err != nil:
			return fileError("listing "+local, err)
		case e.IsDir():
			d.requests.Add(1)
			return nil
		case !e.Type().IsRegular() || strings.HasPrefix(e.Name(), "."):
			return nil // what is being written begins with a dot
		}
		i, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fileError("looking at "+local, err)
		}
		path, err := filepath.Rel(d.root, local)
		if err != nil {
			return fileError("listing "+local, err)
		}
		return see(File{Path: filepath.ToSlash(path), Size: i.Size(), Version: version(i)})
	})
}

// version of a file: writing replaces it, so its number on the file system
// changes too.
func version(i fs.FileInfo) string {
	v := fmt.Sprintf("%d-%d", i.Size(), i.ModTime().UnixNano())
	if st, ok := i.Sys().(*syscall.Stat_t); ok {
		v += fmt.Sprintf("-%d", st.Ino)
	}
	return v
}

func (d directory) stat(_ context.Context, path string) (info, error) {
	if err := d.check(); err != nil {
		return info{}, err
	}
	d.requests.Add(1)
	st, err := os.Stat(d.local(path))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && st.IsDir() {
		return info{}, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return info{}, fileError("looking at "+d.local(path), err)
	}
	return info{size: st.Size(), modified: st.ModTime().UTC()}, nil
}

func (d directory) read(_ context.Context, path string) (io.ReadCloser, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	d.requests.Add(1)
	f, err := os.Open(d.local(path))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return nil, fileError("reading "+d.local(path), err)
	}
	return f, nil
}

func (d directory) write(_ context.Context, path string, r io.ReadSeeker) error {
	return d.put(path, r)
}

// put makes a temporary file beside the destination, brings it to disk and renames
// it.
func (d directory) put(path string, r io.Reader) error {
	if err := d.check(); err != nil {
		return err
	}
	d.requests.Add(1)
	dst := d.local(path)
	f, err := createBeside(dst)
	if err != nil {
		return fileError("writing "+dst, err)
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), dst)
	}
	if err == nil {
		err = syncDir(filepath.Dir(dst))
	}
	if err != nil {
		return fileError("writing "+dst, errors.Join(err, dropTemporary(f.Name())))
	}
	return nil
}

func createBeside(dst string) (*os.File, error) {
	for try := 1; ; try++ {
		// 0700 is what Longhorn's own driver gives to directories.
		if err := os.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
			return nil, err
		}
		f, err := os.CreateTemp(filepath.Dir(dst), "."+filepath.Base(dst)+".tmp-*")
		if !errors.Is(err, fs.ErrNotExist) || try == makeTries {
			return f, err
		}
	}
}

func dropTemporary(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes a rename durable. Some network file systems cannot sync a
// directory; they have made the rename durable by then.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

func (d directory) remove(_ context.Context, path string) error {
	if err := d.check(); err != nil {
		return err
	}
	d.requests.Add(1)
	if err := os.Remove(d.local(path)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return fileError("removing "+d.local(path), err)
	}
	// Blocks are removed under the volume's deletion lock, while nobody
	// makes directories for them: take the empty ones along.
	for dir := filepath.Dir(path); isBlockPath(path) && filepath.Base(dir) != "blocks"; dir = filepath.Dir(dir) {
		if os.Remove(d.local(dir)) != nil {
			break
		}
	}
	return nil
}

// fileError puts a failed system call into a sentence with its reason.
func fileError(action string, err error) *protocol.Error {
	e := &protocol.Error{Reason: protocol.Unreachable, Transient: true, Message: fmt.Sprintf("%s: %v", action, err)}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Reason, e.Transient = protocol.NoSpace, false
		e.Message += ": free space on the target or delete points"
	case errors.Is(err, syscall.EROFS):
		e.Reason, e.Transient = protocol.AccessDenied, false
		e.Message += ": mount the target so that it can be written"
	case errors.Is(err, fs.ErrPermission):
		e.Reason, e.Transient = protocol.AccessDenied, false
		e.Message += ": let the coordinator's user read and write the directory"
	}
	return e
}
