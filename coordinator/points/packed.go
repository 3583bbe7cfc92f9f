package points

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// own is what a point at rest has of its own, beside what it has in common with others.
type own struct {
	uid    uuid.UUID
	digest [32]byte
	// name, "" where it follows from schedule, VM and nominal time.
	name    string
	version uint64
	// Moments in Unix seconds, cut in microseconds. nominal and reserved are none if
	// the point has no such thing.
	created, started, cut, ended int64
	nominal, reserved            int64
	// rest are its disks, as many as it has in common with others, see disk.
	rest string
}

// disk is what a disk of a point at rest has of its own.
type disk struct {
	cut      int32 // whose engine snapshot it has; 0: it has none
	uploaded int64 // none: it does not say
	// superseded are so many engine snapshots of a disk of the same name of other
	// points, to be read one after the other from rest.
	superseded int
}

// snapshot is an engine snapshot of a disk of another point, of the same name.
type snapshot struct {
	point uuid.UUID
	cut   int32
}

// none stands for a moment or a number that is not set.
const none = -1 << 63

// packed is an own as one run of bytes: the greater part of what a coordinator keeps of
// a point, it holds no pointer, so that it takes no more than it says, and looking for
// garbage passes over it. It begins with UID and digest. All numbers have a variable
// length, and moments are told as the time between them.
type packed string

func pack(o *own, disks []byte) packed {
	b := append(make([]byte, 0, 128), o.uid[:]...)
	b = append(b, o.digest[:]...)
	b = binary.AppendUvarint(b, o.version)
	b = binary.AppendVarint(b, o.created)
	b = binary.AppendVarint(b, o.started-o.created)
	b = binary.AppendVarint(b, o.cut-o.started*microseconds)
	b = binary.AppendVarint(b, o.ended-o.started)
	b = appendOptional(b, o.nominal, o.created)
	b = appendOptional(b, o.reserved, 0)
	b = binary.AppendUvarint(b, uint64(len(o.name)))
	return packed(append(append(b, o.name...), disks...))
}

const microseconds = 1_000_000

// uid is the only part that is asked for alone.
func (p packed) uid() (id uuid.UUID) {
	copy(id[:], p)
	return id
}

// read unpacks all but the disks.
func (p packed) read() (o own) {
	p = p[copy(o.uid[:], p):]
	p = p[copy(o.digest[:], p):]
	o.version = p.unsigned()
	o.created = p.signed()
	o.started = o.created + p.signed()
	o.cut = o.started*microseconds + p.signed()
	o.ended = o.started + p.signed()
	o.nominal = p.optional(o.created)
	o.reserved = p.optional(0)
	n := p.unsigned()
	o.name, o.rest = string(p[:n]), string(p[n:])
	return o
}

func appendDisk(b []byte, d disk) []byte {
	b = binary.AppendUvarint(b, uint64(d.cut))
	b = appendOptional(b, d.uploaded, 0)
	return binary.AppendUvarint(b, uint64(d.superseded))
}

// disk reads the next one, whose superseded follow.
func (p *packed) disk() disk {
	return disk{cut: int32(p.unsigned()), uploaded: p.optional(0), superseded: int(p.unsigned())}
}

func appendSnapshot(b []byte, s snapshot) []byte {
	return binary.AppendUvarint(append(b, s.point[:]...), uint64(s.cut))
}

func (p *packed) snapshot() (s snapshot) {
	*p = (*p)[copy(s.point[:], *p):]
	s.cut = int32(p.unsigned())
	return s
}

// appendOptional appends a number as the difference to another one; none as an empty
// place.
func appendOptional(b []byte, n, from int64) []byte {
	if n == none {
		return append(b, 0)
	}
	return binary.AppendVarint(append(b, 1), n-from)
}

func (p *packed) optional(from int64) int64 {
	set := (*p)[0] != 0
	*p = (*p)[1:]
	if !set {
		return none
	}
	return from + p.signed()
}

func (p *packed) unsigned() (n uint64) {
	for shift, i := 0, 0; ; shift, i = shift+7, i+1 {
		c := (*p)[i]
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			*p = (*p)[i+1:]
			return n
		}
	}
}

// signed reads what binary.AppendVarint has written.
func (p *packed) signed() int64 {
	n := p.unsigned()
	return int64(n>>1) ^ -int64(n&1)
}
