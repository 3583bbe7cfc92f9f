package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// grain is the unit in which two images are compared.
const grain = 64 << 10

// extent is a run of bytes of a file.
type extent struct{ offset, length int64 }

// differences are the extents of b that differ from a, merged where they touch.
func differences(a, b string) ([]extent, error) {
	fa, err := os.Open(a)
	if err != nil {
		return nil, fmt.Errorf("comparing: %w", err)
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return nil, fmt.Errorf("comparing: %w", err)
	}
	defer fb.Close()
	var out []extent
	x, y := make([]byte, grain), make([]byte, grain)
	for offset := int64(0); ; offset += grain {
		n, errA := io.ReadFull(fa, x)
		m, errB := io.ReadFull(fb, y)
		if errors.Is(errB, io.EOF) {
			return out, nil
		}
		for _, err := range []error{errA, errB} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, fmt.Errorf("comparing: %w", err)
			}
		}
		if bytes.Equal(x[:n], y[:m]) {
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last].offset+out[last].length == offset {
			out[last].length += int64(m)
			continue
		}
		out = append(out, extent{offset, int64(m)})
	}
}

// cutOut copies one extent of a file into a file of its own.
func cutOut(from string, e extent, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copying an extent: %w", err)
	}
	defer f.Close()
	part := make([]byte, e.length)
	if _, err := f.ReadAt(part, e.offset); err != nil {
		return fmt.Errorf("copying an extent of %s: %w", from, err)
	}
	if err := os.WriteFile(to, part, 0o600); err != nil {
		return fmt.Errorf("copying an extent: %w", err)
	}
	return nil
}
