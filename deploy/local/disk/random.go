package disk

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
)

// unit is how much data comes from one generator: any range can be made from the units that it touches, so what is
// written at an offset depends on the seed and the offset alone.
const unit = 64 << 10

// Fill writes length bytes from offset that look random and follow from seed and position. Two fills with the same
// seed agree wherever they overlap.
func Fill(ctx context.Context, b io.WriterAt, offset, length int64, seed uint64) error {
	return inParallel(ctx, offset, length, func(offset int64, n int) error {
		p := make([]byte, n)
		Random(p, offset, seed)
		_, err := b.WriteAt(p, offset)
		return err
	})
}

// Random puts into p what Fill writes at offset.
func Random(p []byte, offset int64, seed uint64) {
	whole := make([]byte, unit)
	for len(p) > 0 {
		index := offset / unit
		from := int(offset % unit)
		_, _ = generator(seed, index).Read(whole) // ChaCha8 never fails
		n := copy(p, whole[from:])
		p = p[n:]
		offset += int64(n)
	}
}

func generator(seed uint64, index int64) *rand.ChaCha8 {
	var in [16]byte
	binary.LittleEndian.PutUint64(in[:8], seed)
	binary.LittleEndian.PutUint64(in[8:], uint64(index))
	return rand.NewChaCha8(sha256.Sum256(in[:]))
}
