package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// grain is the size in which zeros are looked for: one of these that is all zero is left out or cleared by itself.
const grain = 64 << 10

// Import says how a file is put onto a disk.
type Import struct {
	Path   string
	Offset int64 // where on the disk the file's first byte goes
	// Blank promises that the disk has nothing there yet: the file's zeros are then skipped without a look.
	Blank bool
}

// ImportFile writes a file onto a disk of size bytes. Afterwards the disk holds the file's bytes in that place; parts
// of it that are zero in the file and on the disk are not written.
func ImportFile(ctx context.Context, b Blocks, size int64, in Import) error {
	file, err := os.Open(in.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := within("importing "+in.Path, in.Offset, info.Size(), size); err != nil {
		return err
	}
	err = extents(file, info.Size(), func(offset, length int64, isHole bool) error {
		if isHole {
			if in.Blank {
				return nil
			}
			return Zero(ctx, b, in.Offset+offset, length)
		}
		return inParallel(ctx, offset, length, func(offset int64, n int) error {
			p := make([]byte, n)
			if _, err := file.ReadAt(p, offset); err != nil {
				return err
			}
			return put(ctx, b, p, in.Offset+offset, in.Blank)
		})
	})
	if err != nil {
		return fmt.Errorf("importing %s: %w", in.Path, err)
	}
	return nil
}

// put writes p in runs of grains that are zero and grains that are not.
func put(ctx context.Context, b Blocks, p []byte, offset int64, blank bool) error {
	for len(p) > 0 {
		n := min(grain, len(p))
		zero := isZero(p[:n])
		for n < len(p) && isZero(p[n:min(n+grain, len(p))]) == zero {
			n = min(n+grain, len(p))
		}
		switch {
		case !zero:
			if _, err := b.WriteAt(p[:n], offset); err != nil {
				return err
			}
		case !blank:
			if err := Zero(ctx, b, offset, int64(n)); err != nil {
				return err
			}
		}
		p = p[n:]
		offset += int64(n)
	}
	return nil
}

// Export writes length bytes from offset of a disk into a new file, leaving holes where the disk is zero.
func Export(ctx context.Context, b io.ReaderAt, offset, length int64, path string) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Truncate(length); err != nil {
		return fmt.Errorf("exporting to %s: %w", path, err)
	}
	err = inParallel(ctx, 0, length, func(at int64, n int) error {
		p := make([]byte, n)
		if _, err := b.ReadAt(p, offset+at); err != nil {
			return err
		}
		return put(ctx, file, p, at, true)
	})
	if err != nil {
		return fmt.Errorf("exporting to %s: %w", path, err)
	}
	return nil
}

// extents shows a file's data and holes in order. On a filesystem that knows no holes all of it is data.
func extents(file *os.File, size int64, visit func(offset, length int64, isHole bool) error) error {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // no data behind at
			data, err = size, nil
		}
		if err != nil {
			return fmt.Errorf("looking for data: %w", err)
		}
		if data > at {
			if err := visit(at, data-at, true); err != nil {
				return err
			}
		}
		if data >= size {
			return nil
		}
		hole, err := unix.Seek(int(file.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("looking for holes: %w", err)
		}
		hole = min(hole, size)
		if err := visit(data, hole-data, false); err != nil {
			return err
		}
		at = hole
	}
	return nil
}
