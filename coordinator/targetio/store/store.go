// Package store is a backup target as files: it reads, writes, lists and
// removes by path, on S3 or in a directory, and says in a protocol.Error why it
// could not.
//
// It stands in for backupstore's own s3 and vfs drivers (Driver), because
// those report a failed look-up as "absent", remove by prefix, retry a write
// for many minutes and remove empty directories above the target. It knows
// neither documents nor backups.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// ErrMissing says that a path is certainly not there: the target answered so.
var ErrMissing = errors.New("not on the target")

// Store is one open target. Paths are relative to the target, with slashes.
type Store struct {
	backend  backend
	url      string
	readOnly bool
	// requests to the target so far; system calls on files, where it is a
	// directory.
	requests atomic.Int64
	// remoteCPU was taken by the Pod of a share, and remoteLimit is what it may take, in
	// milliseconds.
	remoteCPU, remoteLimit atomic.Int64
}

// backend is one kind of target. Its errors are ErrMissing, where a single
// path is not there, or a *protocol.Error.
type backend interface {
	// list names what is directly in a directory. One that does not exist
	// is empty.
	list(ctx context.Context, dir string) ([]string, error)
	// walk tells of every file below a directory, and of what it is now, in any
	// order. One that does not exist is empty. An error of see ends it.
	walk(ctx context.Context, dir string, see func(File) error) error
	stat(ctx context.Context, path string) (info, error)
	read(ctx context.Context, path string) (io.ReadCloser, error)
	// write replaces a file as a whole or leaves it.
	write(ctx context.Context, path string, r io.ReadSeeker) error
	// remove removes one file; absent is fine.
	remove(ctx context.Context, path string) error
}

type info struct {
	size     int64
	modified time.Time
}

// File is one file below a directory.
type File struct {
	// Path is relative to the target.
	Path string
	Size int64
	// Version changes with the content: an ETag, or what a file system knows.
	Version string
}

// Place is where a share can be worked on: at a mount here, or through a Pod.
type Place struct {
	Mount  string
	Remote *Remote
}

// Open prepares a target; it does not connect yet. secret holds the data of
// the target's Secret; at matters for shares alone.
func Open(spec v1alpha1.BackupTargetSpec, secret map[string][]byte, at Place) (*Store, error) {
	url, err := target.URL(spec)
	if err != nil {
		return nil, &protocol.Error{Reason: protocol.Invalid, Message: err.Error()}
	}
	credential, err := target.Credential(spec, secret)
	if err != nil {
		return nil, &protocol.Error{Reason: protocol.InvalidCredentials, Message: err.Error()}
	}
	s := &Store{url: url, readOnly: spec.ReadOnly}
	switch {
	case spec.S3 != nil:
		s.backend, err = newBucket(*spec.S3, credential, &s.requests)
	case spec.AzureBlob != nil:
		s.backend, err = newAzure(*spec.AzureBlob, credential, &s.requests)
	case target.Mounted(spec) && at.Remote != nil:
		s.backend = newRemote(spec, *at.Remote, &s.requests, &s.remoteCPU, &s.remoteLimit)
	case target.Mounted(spec):
		s.backend, err = newShare(spec, at.Mount, &s.requests)
	default:
		s.backend = directory{root: spec.Directory.Path, requests: &s.requests}
	}
	return s, err
}

// URL of the target in Longhorn's form, without credentials.
func (s *Store) URL() string { return s.url }

// List names what is directly in a directory; a directory that does not exist
// is empty.
func (s *Store) List(ctx context.Context, dir string) ([]string, error) {
	if err := checkPath(dir); dir != "" && err != nil {
		return nil, err
	}
	return s.backend.list(ctx, dir)
}

// Walk tells of every file below a directory, in any order. It is whole only when
// it returns nil: what was told before an error is a part. An error of see ends
// it and is returned.
func (s *Store) Walk(ctx context.Context, dir string, see func(File) error) error {
	if err := checkPath(dir); err != nil {
		return err
	}
	return s.backend.walk(ctx, strings.TrimSuffix(dir, "/"), see)
}

// Requests that were made to the target so far, those that were tried again among
// them.
func (s *Store) Requests() int64 { return s.requests.Load() }

// CPUTime that this process has taken, and the Pod of a share for it.
func (s *Store) CPUTime() time.Duration { return CPUTime() + s.RemoteCPU() }

// RemoteCPU is what the Pod of a share has taken of it.
func (s *Store) RemoteCPU() time.Duration {
	return time.Duration(s.remoteCPU.Load()) * time.Millisecond
}

// LimitCPU bounds the CPU time of this process, as the function does, and that of the
// Pod of a share.
func (s *Store) LimitCPU(milliseconds int64) error {
	s.remoteLimit.Store(milliseconds)
	return LimitCPU(milliseconds)
}

// Size of a file in bytes; ErrMissing when it is not there.
func (s *Store) Size(ctx context.Context, path string) (int64, error) {
	if err := checkPath(path); err != nil {
		return 0, err
	}
	i, err := s.backend.stat(ctx, path)
	return i.size, err
}

// Modified is when a file was last written, by the target's clock; ErrMissing when
// it is not there.
func (s *Store) Modified(ctx context.Context, path string) (time.Time, error) {
	if err := checkPath(path); err != nil {
		return time.Time{}, err
	}
	i, err := s.backend.stat(ctx, path)
	return i.modified, err
}

// Read returns a whole file of at most limit bytes.
func (s *Store) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	r, err := s.backend.read(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, connectionError(ctx, call{action: "reading " + path, where: s.url, field: "the target's spec"}, err)
	}
	if int64(len(data)) > limit {
		return nil, &protocol.Error{Reason: protocol.Damaged, Message: fmt.Sprintf("%s is larger than the %d bytes that it may have", path, limit)}
	}
	return data, nil
}

// Write replaces a file as a whole.
func (s *Store) Write(ctx context.Context, path string, data []byte) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if err := s.writable(path); err != nil {
		return err
	}
	return s.backend.write(ctx, path, bytes.NewReader(data))
}

// Remove removes one file; one that is not there is fine.
func (s *Store) Remove(ctx context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if err := s.writable(path); err != nil {
		return err
	}
	return s.backend.remove(ctx, path)
}

// checkPath refuses a path that could mean another place than it says.
func checkPath(path string) error {
	for part := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\\\x00") {
			return &protocol.Error{Reason: protocol.Invalid, Message: fmt.Sprintf("%q is not a path on a target", path)}
		}
	}
	return nil
}
