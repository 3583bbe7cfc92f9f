package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

const (
	// chunk is the size of one request. Measured on two cores with two replicas, smaller ones cost more in overhead
	// and larger ones do not get faster.
	chunk = 1 << 20
	// depth is how many requests are kept in flight.
	depth = 8
)

// Blocks is what data is moved from and to; *Device is one.
type Blocks interface {
	io.ReaderAt
	io.WriterAt
}

// SHA256 is the hex digest of the first length bytes.
func SHA256(ctx context.Context, b io.ReaderAt, length int64) (string, error) {
	sum := sha256.New()
	err := inOrder(ctx, b, 0, length, func(p []byte, _ int64) error {
		sum.Write(p) // never fails
		return nil
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Zero makes length bytes from offset read as zeros. What is zero already is not written, so that a sparse volume
// stays sparse.
func Zero(ctx context.Context, b Blocks, offset, length int64) error {
	return inParallel(ctx, offset, length, func(offset int64, n int) error {
		p := make([]byte, n)
		if _, err := b.ReadAt(p, offset); err != nil {
			return err
		}
		if isZero(p) {
			return nil
		}
		clear(p)
		_, err := b.WriteAt(p, offset)
		return err
	})
}

// inOrder reads length bytes from offset with several requests in flight and shows them in order. visit must not keep
// the slice.
func inOrder(ctx context.Context, b io.ReaderAt, offset, length int64, visit func(p []byte, offset int64) error) error {
	type read struct {
		p      []byte
		offset int64
		err    error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ahead := make(chan chan read, depth)
	buffers := make(chan []byte, depth+2)
	for range cap(buffers) {
		buffers <- make([]byte, chunk)
	}
	go func() {
		defer close(ahead)
		for at := offset; at < offset+length; at += chunk {
			var buffer []byte
			select {
			case buffer = <-buffers:
			case <-ctx.Done():
				return
			}
			done := make(chan read, 1)
			go func() {
				p := buffer[:min(chunk, offset+length-at)]
				_, err := b.ReadAt(p, at)
				done <- read{p: p, offset: at, err: err}
			}()
			ahead <- done // never waits long: there are fewer buffers than room here and a reader below
		}
	}()
	var failed error
	for done := range ahead {
		r := <-done
		if failed == nil {
			if failed = r.err; failed == nil {
				failed = visit(r.p, r.offset)
			}
			if failed != nil {
				cancel()
			}
		}
		buffers <- r.p[:chunk]
	}
	if failed == nil {
		failed = ctx.Err()
	}
	return failed
}

// inParallel calls work for the pieces of a range, several at a time and in no particular order.
func inParallel(ctx context.Context, offset, length int64, work func(offset int64, n int) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(depth)
	for at := offset; at < offset+length && groupCtx.Err() == nil; at += chunk {
		group.Go(func() error { return work(at, int(min(chunk, offset+length-at))) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

var zeros [4 << 10]byte

func isZero(p []byte) bool {
	for len(p) > len(zeros) {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
		p = p[len(zeros):]
	}
	return bytes.Equal(p, zeros[:len(p)])
}

// within refuses a range that is not inside [0, size).
func within(what string, offset, length, size int64) error {
	if offset < 0 || length < 0 || offset > size-length {
		return fmt.Errorf("%s: %d bytes at %d do not fit into %d", what, length, offset, size)
	}
	return nil
}
