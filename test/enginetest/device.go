package enginetest

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/longhorn/longhorn-engine/pkg/dataconn"
	"github.com/longhorn/longhorn-engine/pkg/util"
)

// BlockBytes is the size of the blocks in which Longhorn backs up.
const BlockBytes = 2 << 20

// chunkBytes is sent in one message.
const chunkBytes = 1 << 20

// Device reads and writes a volume through its engine's data path.
type Device struct {
	tb     testing.TB
	client *dataconn.Client
	size   int64
}

func (v *Volume) waitSocket() {
	v.tb.Helper()
	Eventually(v.tb, readyLimit, "the front end of "+v.Name+" answers", func() bool {
		c, err := net.Dial("unix", v.Socket())
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// Device connects to the volume's front end, which may just have been started: the
// engine answers before its socket is there.
func (v *Volume) Device() *Device {
	v.tb.Helper()
	v.waitSocket()
	c, err := net.Dial("unix", v.Socket())
	if err != nil {
		v.tb.Fatalf("front end of %s: %v", v.Name, err)
	}
	client := dataconn.NewClient([]net.Conn{c}, util.NewSharedTimeouts(30*time.Second, 30*time.Second))
	d := &Device{tb: v.tb, client: client, size: v.SizeBytes}
	v.tb.Cleanup(func() { _ = c.Close() })
	return d
}

// Write writes at off.
func (d *Device) Write(off int64, data []byte) {
	d.tb.Helper()
	for len(data) > 0 {
		n := min(len(data), chunkBytes)
		if _, err := d.client.WriteAt(data[:n], off); err != nil {
			d.tb.Fatalf("writing %d bytes at %d: %v", n, off, err)
		}
		data, off = data[n:], off+int64(n)
	}
}

// Read reads n bytes at off.
func (d *Device) Read(off, n int64) []byte {
	d.tb.Helper()
	out := make([]byte, n)
	for done := int64(0); done < n; {
		part := out[done:min(n, done+chunkBytes)]
		if _, err := d.client.ReadAt(part, off+done); err != nil {
			d.tb.Fatalf("reading %d bytes at %d: %v", len(part), off+done, err)
		}
		done += int64(len(part))
	}
	return out
}

// WriteBlocks fills n whole blocks from block first with random data that
// depends on seed and the block only.
func (d *Device) WriteBlocks(seed uint64, first, n int) {
	d.tb.Helper()
	for b := first; b < first+n; b++ {
		d.Write(int64(b)*BlockBytes, Block(seed, b))
	}
}

// Sum is the sha256 of the whole volume.
func (d *Device) Sum() string {
	d.tb.Helper()
	h := sha256.New()
	for off := int64(0); off < d.size; off += BlockBytes {
		h.Write(d.Read(off, BlockBytes))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Block is the random data of one block of WriteBlocks.
func Block(seed uint64, block int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	key[8], key[9] = byte(block), byte(block>>8)
	out := make([]byte, BlockBytes)
	_, _ = rand.NewChaCha8(key).Read(out) // never fails
	return out
}
