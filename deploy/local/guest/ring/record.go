// Package ring is the log that a guest stand-in keeps at the end of each of its disks: fixed-size records that check
// themselves, written over and over in a ring. Read back from a snapshot or a restored disk they tell exactly which
// write was the last one in it, and whether one before it is missing.
//
// It knows bytes and positions only: nothing about engines, claims or virtual machines.
package ring

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// RecordSize is one block of the replica's sparse files, in bytes: a record is in a snapshot whole or not at all.
const RecordSize = 4096

// maxText bounds the VM's UID and the disk's name, in bytes.
const maxText = 255

// A record is: magic (8), sequence (8), time (8), length and bytes of the UID, length and bytes of the disk's name,
// filler made from the sequence, and at the end the SHA-256 (32) of all before it.
var magic = []byte("HLGUEST1")

const (
	headSize = 8 + 8 + 8
	bodySize = RecordSize - sha256.Size
)

var (
	// ErrBlank says that a place in the ring was never written.
	ErrBlank = errors.New("no record was written here")
	// ErrDamaged says that a place holds something that is no whole record.
	ErrDamaged = errors.New("record is damaged")
)

// Record is one write of a guest.
type Record struct {
	Sequence uint64 // from 1, one more in each round; a round writes every disk of the VM in order
	Time     time.Time
	VM       string // UID of the VirtualMachine
	Disk     string // name of the volume in the VM's spec
}

// Encode makes the block that is written. It fails only for a UID or a name of more than 255 bytes.
func (r Record) Encode() ([]byte, error) {
	if len(r.VM) > maxText || len(r.Disk) > maxText {
		return nil, fmt.Errorf("encoding a record: UID %q or disk name %q is longer than %d bytes", r.VM, r.Disk, maxText)
	}
	p := make([]byte, 0, RecordSize)
	p = append(p, magic...)
	p = binary.LittleEndian.AppendUint64(p, r.Sequence)
	p = binary.LittleEndian.AppendUint64(p, uint64(r.Time.UnixNano()))
	p = append(p, byte(len(r.VM)))
	p = append(p, r.VM...)
	p = append(p, byte(len(r.Disk)))
	p = append(p, r.Disk...)
	// A filler that differs in every record makes mixtures of two records visible even without the checksum.
	for word := r.Sequence; len(p) < bodySize; word = word*6364136223846793005 + 1442695040888963407 { // Knuth's MMIX generator
		p = append(p, byte(word>>56))
	}
	sum := sha256.Sum256(p)
	return append(p, sum[:]...), nil
}

// Parse reads a block. Its error is ErrBlank or ErrDamaged.
func Parse(p []byte) (Record, error) {
	if len(p) != RecordSize {
		return Record{}, fmt.Errorf("%w: %d bytes long", ErrDamaged, len(p))
	}
	if bytes.Equal(p, make([]byte, RecordSize)) {
		return Record{}, ErrBlank
	}
	if !bytes.HasPrefix(p, magic) {
		return Record{}, fmt.Errorf("%w: no magic", ErrDamaged)
	}
	if sum := sha256.Sum256(p[:bodySize]); !bytes.Equal(sum[:], p[bodySize:]) {
		return Record{}, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	r := Record{
		Sequence: binary.LittleEndian.Uint64(p[8:]),
		Time:     time.Unix(0, int64(binary.LittleEndian.Uint64(p[16:]))).UTC(),
	}
	rest := p[headSize:bodySize]
	r.VM, rest = text(rest)
	r.Disk, _ = text(rest)
	return r, nil
}

// text takes a string with its length in front; both of a record's fit in front of its checksum.
func text(p []byte) (string, []byte) {
	n := int(p[0])
	return string(p[1 : 1+n]), p[1+n:]
}
