package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGarbageIsBoundedByWhatIsDone(t *testing.T) {
	const held = 100 << 20
	c := collector{atWork: true}
	taken := uint64(0)
	// look tells in how many looks something changed, of those in which so much of what
	// is held was taken.
	look := func(percent ...uint64) (changes int) {
		for _, p := range percent {
			taken += held / 100 * p
			if c.look(taken, held) {
				changes++
			}
		}
		return changes
	}
	require.Zero(t, look(500, 500, 1, 30, 1), "it has not been quiet for long enough")
	require.Equal(t, garbageAtWork, c.percent())
	require.Equal(t, 1, look(1))
	require.Equal(t, garbageAtRest, c.percent())
	require.Zero(t, look(1, garbageAtRest, 0))
	require.Equal(t, 1, look(garbageAtRest+1), "it works at once")
	require.Equal(t, garbageAtWork, c.percent())
	require.Equal(t, 1, look(0, 0))
	require.False(t, c.atWork)
}
