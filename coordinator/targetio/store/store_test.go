package store

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

func open(t *testing.T) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: dir}}, nil, Place{})
	require.NoError(t, err)
	return s, dir
}

func TestPathsStayOnTheTarget(t *testing.T) {
	s, _ := open(t)
	for _, path := range []string{"", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", `a\b`, "a\x00"} {
		require.Error(t, s.Write(t.Context(), path, nil), path)
		_, err := s.Read(t.Context(), path, 1)
		require.Error(t, err, path)
		_, err = s.Size(t.Context(), path)
		require.Error(t, err, path)
		require.Error(t, s.Remove(t.Context(), path), path)
		d := s.Driver(t.Context())
		require.Equal(t, int64(-1), d.FileSize(path))
		require.Error(t, d.Err(), path)
	}
}

func TestDirectory(t *testing.T) {
	s, dir := open(t)
	ctx := t.Context()
	_, err := s.Read(ctx, "a/b", 10)
	require.ErrorIs(t, err, ErrMissing)
	names, err := s.List(ctx, "a")
	require.NoError(t, err)
	require.Empty(t, names)
	require.NoError(t, s.Remove(ctx, "a/b"))

	require.NoError(t, s.Write(ctx, "a/b", []byte("first")))
	require.NoError(t, s.Write(ctx, "a/b", []byte("second")))
	data, err := s.Read(ctx, "a/b", 6)
	require.NoError(t, err)
	require.Equal(t, "second", string(data))
	_, err = s.Read(ctx, "a/b", 5)
	require.ErrorContains(t, err, "larger than the 5 bytes")
	names, err = s.List(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, names, "a temporary file is left")
	_, err = s.Size(ctx, "a")
	require.ErrorIs(t, err, ErrMissing, "a directory is no file")
	_, err = s.Size(ctx, "a/b/c")
	require.ErrorIs(t, err, ErrMissing)
	require.NoError(t, s.Remove(ctx, "a/b"))
	require.DirExists(t, filepath.Join(dir, "a"))

	// Only blocks take their empty directories along, up to "blocks".
	block := "backupstore/volumes/aa/bb/v/blocks/cc/dd/ccdd.blk"
	require.NoError(t, s.Write(ctx, block, []byte("x")))
	require.NoError(t, s.Remove(ctx, block))
	require.NoDirExists(t, filepath.Join(dir, "backupstore/volumes/aa/bb/v/blocks/cc"))
	require.DirExists(t, filepath.Join(dir, "backupstore/volumes/aa/bb/v/blocks"))
}

// A target that went away is not an empty target.
func TestMissingDirectoryIsNotEmpty(t *testing.T) {
	s, dir := open(t)
	require.NoError(t, os.Remove(dir))
	var e *protocol.Error
	_, err := s.List(t.Context(), "a")
	require.ErrorAs(t, err, &e)
	_, err = s.Read(t.Context(), "a", 1)
	require.ErrorAs(t, err, &e)
	_, err = s.Size(t.Context(), "a")
	require.ErrorAs(t, err, &e)
	require.ErrorAs(t, s.Remove(t.Context(), "a"), &e)
	require.ErrorAs(t, s.Write(t.Context(), "a", nil), &e)
	require.NoDirExists(t, dir, "writing made the target itself")
}

// broken answers nothing but that it failed; it removes.
type broken struct{ removed []string }

var errBroken = &protocol.Error{Reason: protocol.Unreachable, Message: "broken"}

func (b *broken) list(context.Context, string) ([]string, error) { return nil, errBroken }

func (b *broken) walk(context.Context, string, func(File) error) error { return errBroken }

func (b *broken) stat(_ context.Context, path string) (info, error) {
	if strings.HasSuffix(path, "missing") {
		return info{}, ErrMissing
	}
	return info{}, errBroken
}

func (b *broken) read(context.Context, string) (io.ReadCloser, error) { return nil, ErrMissing }

func (b *broken) write(ctx context.Context, _ string, _ io.ReadSeeker) error { return ctx.Err() }

func (b *broken) remove(ctx context.Context, path string) error {
	if ctx.Err() == nil {
		b.removed = append(b.removed, path)
	}
	return ctx.Err()
}

const aBlock, aConfig, aLock = "v/blocks/aa/bb/x.blk", "v/backups/backup_x.cfg", "v/locks/lock-x.lck"

func TestDriverFreesNoBlockAfterAFailure(t *testing.T) {
	for name, fail := range map[string]func(*Driver){
		"list": func(d *Driver) { _, _ = d.List("v/backups") },
		"size": func(d *Driver) { d.FileSize(aConfig) },
		"time": func(d *Driver) { d.FileTime(aLock) },
	} {
		b := &broken{}
		d := (&Store{backend: b}).Driver(t.Context())
		require.False(t, d.FileExists("v/missing"), "what is not there is no failure")
		_, err := d.Read(aConfig)
		require.ErrorIs(t, err, ErrMissing)
		require.NoError(t, d.Remove(aBlock), name)
		fail(d)
		require.ErrorIs(t, d.Err(), errBroken, name)
		require.ErrorIs(t, d.Remove(aBlock), errBroken, name)
		require.NoError(t, d.Remove(aConfig), name)
		require.Equal(t, []string{aBlock, aConfig}, b.removed, name)
	}
}

// Locks are removed even when the time is over; nothing else is.
func TestDriverUnlocks(t *testing.T) {
	b := &broken{}
	ctx, cancel := context.WithCancel(t.Context())
	d := (&Store{backend: b}).Driver(ctx)
	require.NoError(t, d.Write(aLock, nil))
	require.NoError(t, d.Write("v/locks/lock-y.lck", nil))
	require.NoError(t, d.Remove("v/locks/lock-y.lck"))
	cancel()
	require.True(t, errors.Is(d.Remove(aConfig), context.Canceled))
	d.Unlock()
	d.Unlock()
	require.Equal(t, []string{"v/locks/lock-y.lck", aLock}, b.removed)
}
