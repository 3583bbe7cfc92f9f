package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartOfMemory(t *testing.T) {
	for limit, want := range map[string]int64{
		"1073741824\n": 768 << 20, "max\n": freeMemory, "9223372036854771712\n": freeMemory, "": freeMemory, "0": freeMemory, "-1": freeMemory, "x": freeMemory,
	} {
		require.Equal(t, want, partOf(limit), "%q", limit)
	}
}

// greedy has the test's own program take memory in place of testing.
const greedy = "HAYLOFT_TEST_GREEDY"

func TestMain(m *testing.M) {
	if os.Getenv(greedy) == "" {
		os.Exit(m.Run())
	}
	if err := limitMemory(256 << 20); err != nil {
		panic(err)
	}
	var all [][]byte
	for range 64 {
		block := make([]byte, 16<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		all = append(all, block)
	}
	fmt.Printf("took %d blocks\n", len(all))
}

// A worker that is given too much to hold ends by itself, with a word that says so.
func TestMemoryIsLimited(t *testing.T) {
	if raceDetector {
		t.Skip("a program with the race detector has no limit")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), greedy+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "%s", out)
	require.Contains(t, string(out), "out of memory")
}
