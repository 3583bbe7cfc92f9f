package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"hayloft.dev/coordinator/targetio/protocol"
)

// keeper is a backend that may keep what was removed from it.
type keeper interface {
	// keeps tells of a file that was written and removed just now what is left of
	// it, and clears that away where it may.
	keeps(ctx context.Context, path string) (protocol.Keeps, error)
}

// Trial writes a file, reads it back and removes it, since a target that allows
// only some of it fails a backup late. It tells whether the target keeps what is
// removed.
func (s *Store) Trial(ctx context.Context, path string, content []byte) (protocol.Keeps, error) {
	if err := s.Write(ctx, path, content); err != nil {
		return "", err
	}
	back, err := s.Read(ctx, path, int64(len(content)))
	if errors.Is(err, ErrMissing) || err == nil && !bytes.Equal(back, content) {
		err = &protocol.Error{Reason: protocol.Damaged, Message: fmt.Sprintf(
			"what was written to %s did not come back: the target does not keep what it is given", path)}
	}
	if err != nil {
		_ = s.Remove(ctx, path) // what was found first is told
		return "", err
	}
	return s.Discard(ctx, path)
}

// Discard removes a file, and what the target keeps of it where that may be cleared
// away, and tells what stays.
func (s *Store) Discard(ctx context.Context, path string) (protocol.Keeps, error) {
	if err := s.Remove(ctx, path); err != nil {
		return "", err
	}
	k, ok := s.backend.(keeper)
	if !ok {
		return "", nil
	}
	return k.keeps(ctx, path)
}

// Readable asks for a file that is not there, which takes the right to read.
func (s *Store) Readable(ctx context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	r, err := s.backend.read(ctx, path)
	if errors.Is(err, ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(r, 1))
	return errors.Join(err, r.Close())
}

// writable refuses to change a target that is only read.
func (s *Store) writable(path string) error {
	if !s.readOnly {
		return nil
	}
	return &protocol.Error{Reason: protocol.ReadOnly, Message: fmt.Sprintf(
		"%s was not touched, since the target is only read (spec.readOnly): set that to false, or keep the data", path)}
}
