package ring

import (
	"errors"
	"fmt"
	"io"
)

// tailSize is how much of a disk's end is the guest's, in bytes; a disk of less than four times as much gives its last
// quarter.
const tailSize = 4 << 20

// Tail is the part of a disk of size bytes that the ring takes: offset and length in bytes, both multiples of
// RecordSize. A disk that is too small for two records has none (length 0).
func Tail(size int64) (offset, length int64) {
	size -= size % RecordSize
	length = min(tailSize, size/4)
	length -= length % RecordSize
	if length < 2*RecordSize {
		return size, 0
	}
	return size - length, length
}

// Ring is the ring of one disk.
type Ring struct {
	offset, slots int64
}

// On is the ring of a disk of size bytes; an error if there is no room for one.
func On(size int64) (Ring, error) {
	offset, length := Tail(size)
	if length == 0 {
		return Ring{}, fmt.Errorf("a disk of %d bytes is too small for the guest's records", size)
	}
	return Ring{offset: offset, slots: length / RecordSize}, nil
}

// Write puts a record into its place, over the one of a turn before.
func (r Ring) Write(w io.WriterAt, record Record) error {
	p, err := record.Encode()
	if err != nil {
		return err
	}
	_, err = w.WriteAt(p, r.place(record.Sequence))
	return err
}

func (r Ring) place(sequence uint64) int64 {
	return r.offset + int64(sequence%uint64(r.slots))*RecordSize
}

// State is what a ring says about its disk.
type State struct {
	Last *Record // the record with the highest sequence; nil for a ring that was never written
	// Unbroken is how many records in a row, of the same disk, end with Last; Records how many there are in all.
	Unbroken, Records int64
	Places            int64
	Damaged           int64 // places that hold something else than a record
}

// Whole tells whether all records are one unbroken row: no write before the last one is missing. The VM's UID may
// change within the row: a restored VM goes on where the first one was.
func (s State) Whole() bool { return s.Damaged == 0 && s.Unbroken == s.Records }

// Read looks at all places. Records that sit where their sequence does not belong count as damaged.
func (r Ring) Read(disk io.ReaderAt) (State, error) {
	p := make([]byte, r.slots*RecordSize)
	if _, err := disk.ReadAt(p, r.offset); err != nil {
		return State{}, err
	}
	state := State{Places: r.slots}
	records := map[uint64]Record{} // sequence -> record
	for i := range r.slots {
		record, err := Parse(p[i*RecordSize : (i+1)*RecordSize])
		if errors.Is(err, ErrBlank) {
			continue
		}
		if err != nil || r.place(record.Sequence) != r.offset+i*RecordSize {
			state.Damaged++
			continue
		}
		records[record.Sequence] = record
		state.Records++
		if state.Last == nil || record.Sequence > state.Last.Sequence {
			state.Last = &record
		}
	}
	if state.Last == nil {
		return state, nil
	}
	for sequence := state.Last.Sequence; ; sequence-- {
		record, ok := records[sequence]
		if !ok || record.Disk != state.Last.Disk {
			return state, nil
		}
		state.Unbroken++
	}
}
