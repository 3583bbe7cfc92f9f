package disk_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/disk/disktest"
)

// memory is a disk in memory that remembers how much of it was written.
type memory struct {
	mu      sync.Mutex
	data    []byte
	written int64
	failAt  int64 // reads that touch this byte fail; 0: none do
}

var errBroken = errors.New("broken block")

func (m *memory) ReadAt(p []byte, offset int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failAt > 0 && offset <= m.failAt && m.failAt < offset+int64(len(p)) {
		return 0, errBroken
	}
	return copy(p, m.data[offset:]), nil
}

func (m *memory) WriteAt(p []byte, offset int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written += int64(len(p))
	return copy(m.data[offset:], p), nil
}

func random(n int, seed uint64) []byte {
	p := make([]byte, n)
	disk.Random(p, 0, seed)
	return p
}

func TestSHA256IsThatOfTheBytesInOrder(t *testing.T) {
	m := &memory{data: random(5<<20+777, 1)}
	for _, length := range []int64{0, 1, 1 << 20, 3<<20 + 5, int64(len(m.data))} {
		got, err := disk.SHA256(t.Context(), m, length)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(m.data[:length])
		if want := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("first %d bytes: %s, want %s", length, got, want)
		}
	}
}

func TestSHA256FailsOnABadBlockAndWhenGivenUp(t *testing.T) {
	m := &memory{data: random(64<<20, 1), failAt: 40 << 20}
	if _, err := disk.SHA256(t.Context(), m, int64(len(m.data))); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the error of the block", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := disk.SHA256(ctx, m, 1<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestFillFollowsFromSeedAndPosition(t *testing.T) {
	whole, parts := &memory{data: make([]byte, 4<<20)}, &memory{data: make([]byte, 4<<20)}
	fill := func(m *memory, offset, length int64, seed uint64) {
		t.Helper()
		if err := disk.Fill(t.Context(), m, offset, length, seed); err != nil {
			t.Fatal(err)
		}
	}
	fill(whole, 0, 4<<20, 7)
	fill(parts, 1_000_001, 3<<20, 7) // overlaps on odd borders
	fill(parts, 0, 1_500_000, 7)
	fill(parts, 4<<20-100_000, 100_000, 7)
	if !bytes.Equal(whole.data, parts.data) {
		t.Error("filling in parts gives other data than filling at once")
	}
	fill(parts, 0, 4<<20, 8)
	if bytes.Equal(whole.data, parts.data) {
		t.Error("another seed gives the same data")
	}
}

// sparseFile is 3 MiB with data in two places and a block of written zeros.
func sparseFile(t *testing.T) (string, []byte) {
	t.Helper()
	want := make([]byte, 3<<20)
	copy(want[100_000:], random(300_000, 3))
	copy(want[2<<20:], random(70_000, 4))
	path := filepath.Join(t.TempDir(), "sparse.img")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, part := range []struct{ from, to int }{{100_000, 500_000}, {2 << 20, 2<<20 + 70_000}} {
		if _, err := file.WriteAt(want[part.from:part.to], int64(part.from)); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Truncate(int64(len(want))); err != nil {
		t.Fatal(err)
	}
	return path, want
}

func TestImport(t *testing.T) {
	path, want := sparseFile(t)
	for _, test := range []struct {
		name       string
		disk       []byte
		blank      bool
		mostWrites int64
	}{
		{"onto a blank disk", make([]byte, 5<<20), true, 600_000},
		{"onto a blank disk that is looked at", make([]byte, 5<<20), false, 600_000},
		{"over other data", random(5<<20, 9), false, 3 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &memory{data: bytes.Clone(test.disk)}
			in := disk.Import{Path: path, Offset: 1<<20 + 512, Blank: test.blank}
			if err := disk.ImportFile(t.Context(), m, int64(len(m.data)), in); err != nil {
				t.Fatal(err)
			}
			all := bytes.Clone(test.disk)
			copy(all[in.Offset:], want)
			if !bytes.Equal(m.data, all) {
				t.Error("the disk does not hold the file and, around it, what it held before")
			}
			if m.written > test.mostWrites {
				t.Errorf("%d bytes were written, want at most %d", m.written, test.mostWrites)
			}
		})
	}
}

func TestImportRefusesWhatDoesNotFit(t *testing.T) {
	path, _ := sparseFile(t)
	m := &memory{data: make([]byte, 3<<20)}
	for _, offset := range []int64{1, -1, 4 << 20} {
		if err := disk.ImportFile(t.Context(), m, 3<<20, disk.Import{Path: path, Offset: offset}); err == nil {
			t.Errorf("offset %d was accepted", offset)
		}
	}
	if m.written != 0 {
		t.Error("a refused import wrote")
	}
}

func TestExportIsExactAndSparse(t *testing.T) {
	m := &memory{data: make([]byte, 32<<20)}
	copy(m.data[5<<20+17:], random(100_000, 5))
	path := filepath.Join(t.TempDir(), "out.img")
	if err := disk.Export(t.Context(), m, 4<<20, 20<<20, path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, m.data[4<<20:24<<20]) {
		t.Error("the file is not what the disk holds")
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	if used := stat.Blocks * 512; used > 1<<20 {
		t.Errorf("the file takes %d bytes for 100,000 of data", used)
	}
}

func TestZeroLeavesSparseDisksSparse(t *testing.T) {
	m := &memory{data: make([]byte, 8<<20)}
	copy(m.data[3<<20:], random(4096, 6))
	if err := disk.Zero(t.Context(), m, 0, 8<<20); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.data, make([]byte, 8<<20)) {
		t.Error("something is left")
	}
	if m.written != 1<<20 {
		t.Errorf("%d bytes were written, want the one piece that held something", m.written)
	}
}

func TestDeviceOverARealEngine(t *testing.T) {
	volume := disktest.Start(t, 256<<20)
	d, err := disk.Open(t.Context(), volume.Name, volume.Size)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := disk.Fill(t.Context(), d, 0, volume.Size, 11); err != nil {
		t.Fatal(err)
	}
	filled := time.Now()
	got, err := disk.SHA256(t.Context(), d, volume.Size)
	if err != nil {
		t.Fatal(err)
	}
	mib := float64(volume.Size) / (1 << 20)
	t.Logf("filled at %.0f MiB/s, hashed at %.0f MiB/s", mib/filled.Sub(start).Seconds(), mib/time.Since(filled).Seconds())
	want := sha256.Sum256(random(int(volume.Size), 11))
	if got != hex.EncodeToString(want[:]) {
		t.Error("what is read is not what was written")
	}
	if _, err := d.ReadAt(make([]byte, 2), volume.Size-1); err == nil {
		t.Error("reading behind the end was accepted")
	}

	volume.Kill()
	if _, err := d.ReadAt(make([]byte, 4096), 0); err == nil {
		t.Error("reading succeeded without an engine")
	}
	d.Close()
	if _, err := d.ReadAt(make([]byte, 4096), 0); !errors.Is(err, disk.ErrClosed) {
		t.Errorf("reading a closed device: %v, want %v", err, disk.ErrClosed)
	}
	if _, err := disk.Open(t.Context(), volume.Name, volume.Size); err == nil {
		t.Error("a dead engine's socket was opened")
	}
}
