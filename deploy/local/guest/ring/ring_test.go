package ring_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"hayloft.dev/deploy/local/guest/ring"
)

// memory is a disk in memory.
type memory []byte

func (m memory) ReadAt(p []byte, offset int64) (int, error)  { return copy(p, m[offset:]), nil }
func (m memory) WriteAt(p []byte, offset int64) (int, error) { return copy(m[offset:], p), nil }

var when = time.Date(2026, 11, 23, 4, 5, 6, 789, time.UTC)

func record(sequence uint64) ring.Record {
	return ring.Record{Sequence: sequence, Time: when, VM: "5f0ae1f5-5f55-4d9f-9a6c-1c2b8f6f7a0e", Disk: "root"}
}

func TestTail(t *testing.T) {
	for _, test := range []struct{ size, offset, length int64 }{
		{1 << 30, 1<<30 - 4<<20, 4 << 20},
		{16 << 20, 12 << 20, 4 << 20},
		{10 << 20, 10<<20 - 5<<19, 5 << 19},
		{64 << 10, 48 << 10, 16 << 10},
		{32 << 10, 24 << 10, 8 << 10},
		{16 << 10, 16 << 10, 0}, // room for one record only
		{0, 0, 0},
	} {
		offset, length := ring.Tail(test.size)
		if offset != test.offset || length != test.length {
			t.Errorf("size %d: %d+%d, want %d+%d", test.size, offset, length, test.offset, test.length)
		}
	}
}

func TestRecordIsReadAsWritten(t *testing.T) {
	for _, want := range []ring.Record{
		record(1),
		record(1<<64 - 1),
		{Sequence: 7, Time: when},
		{Sequence: 8, Time: when, VM: strings.Repeat("v", 255), Disk: strings.Repeat("d", 255)},
	} {
		p, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ring.Parse(p); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := (ring.Record{VM: strings.Repeat("v", 256)}).Encode(); err == nil {
		t.Error("a UID that does not fit was accepted")
	}
}

func TestEveryDamagedBitIsSeen(t *testing.T) {
	whole, err := record(42).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		p := bytes.Clone(whole)
		p[i] ^= 0x10
		if _, err := ring.Parse(p); !errors.Is(err, ring.ErrDamaged) {
			t.Fatalf("byte %d changed: %v, want %v", i, err, ring.ErrDamaged)
		}
	}
	if _, err := ring.Parse(make([]byte, ring.RecordSize)); !errors.Is(err, ring.ErrBlank) {
		t.Errorf("zeros: %v, want %v", err, ring.ErrBlank)
	}
	if _, err := ring.Parse(whole[:100]); !errors.Is(err, ring.ErrDamaged) {
		t.Errorf("short: %v, want %v", err, ring.ErrDamaged)
	}
}

func TestReadFindsTheLastRecordAndWhatIsMissing(t *testing.T) {
	const size = 64 << 10 // a ring of 4 places
	for _, test := range []struct {
		name     string
		write    []uint64
		spoil    uint64 // this one's place is overwritten with rubbish
		last     uint64
		unbroken int64
		whole    bool
	}{
		{name: "blank", whole: true},
		{name: "first turn", write: []uint64{1, 2, 3}, last: 3, unbroken: 3, whole: true},
		{name: "later turns", write: []uint64{1, 2, 3, 4, 5, 6}, last: 6, unbroken: 4, whole: true},
		{name: "begun late, as on a disk that was added", write: []uint64{100, 101}, last: 101, unbroken: 2, whole: true},
		{name: "a write is missing", write: []uint64{1, 2, 3, 4, 6}, last: 6, unbroken: 1},
		{name: "a record is damaged", write: []uint64{1, 2, 3, 4, 5, 6}, spoil: 5, last: 6, unbroken: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := make(memory, size)
			r, err := ring.On(size)
			if err != nil {
				t.Fatal(err)
			}
			for _, sequence := range test.write {
				if err := r.Write(disk, record(sequence)); err != nil {
					t.Fatal(err)
				}
			}
			if test.spoil > 0 {
				offset, _ := ring.Tail(size)
				disk[offset+int64(test.spoil%4)*ring.RecordSize+2000]++
			}
			state, err := r.Read(disk)
			if err != nil {
				t.Fatal(err)
			}
			var last uint64
			if state.Last != nil {
				last = state.Last.Sequence
			}
			if last != test.last || state.Unbroken != test.unbroken || state.Whole() != test.whole {
				t.Errorf("last %d, unbroken %d, whole %t; want %d, %d, %t", last, state.Unbroken, state.Whole(),
					test.last, test.unbroken, test.whole)
			}
			if offset, _ := ring.Tail(size); !bytes.Equal(disk[:offset], make([]byte, offset)) {
				t.Error("something was written in front of the tail")
			}
		})
	}
}

func TestARecordInAnothersPlaceIsDamage(t *testing.T) {
	const size = 64 << 10
	disk := make(memory, size)
	p, err := record(6).Encode()
	if err != nil {
		t.Fatal(err)
	}
	offset, _ := ring.Tail(size)
	copy(disk[offset+3*ring.RecordSize:], p) // 6 belongs into place 2
	r, err := ring.On(size)
	if err != nil {
		t.Fatal(err)
	}
	state, err := r.Read(disk)
	if err != nil {
		t.Fatal(err)
	}
	if state.Last != nil || state.Damaged != 1 || state.Whole() {
		t.Errorf("%+v, want one damaged place and no record", state)
	}
}

func FuzzParse(f *testing.F) {
	p, err := record(3).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Add(make([]byte, ring.RecordSize))
	f.Add([]byte("HLGUEST1"))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := ring.Parse(p)
		if err != nil {
			if !errors.Is(err, ring.ErrBlank) && !errors.Is(err, ring.ErrDamaged) {
				t.Errorf("unnamed error %v", err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ring.Parse(again); err != nil || got != r {
			t.Errorf("%+v is read back as %+v, %v", r, got, err)
		}
	})
}
