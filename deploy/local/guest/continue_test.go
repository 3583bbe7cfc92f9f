package guest

import "testing"

func TestContinueAt(t *testing.T) {
	for _, test := range []struct {
		name string
		last []uint64
		want uint64
	}{
		{"no disk", nil, 0},
		{"blank disks", []uint64{0, 0}, 0},
		{"a clean end", []uint64{7, 7}, 7},
		{"cut off in a round, which is done again", []uint64{8, 8, 7}, 7},
		{"cut off in the first round", []uint64{1, 0}, 0},
		{"a disk was added", []uint64{500, 500, 0}, 500},
		{"an older state of one disk was brought back", []uint64{500, 300}, 500},
	} {
		if got := continueAt(test.last); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}
