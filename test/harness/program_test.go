package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/test/harness"
)

// TestStartedAgain: a program that ends by itself with the given words is started anew, and is the same program to the
// test; one that ends with others, or is asked to end, is not.
func TestStartedAgain(t *testing.T) {
	start := func(t *testing.T, script string) *harness.Program {
		dir := t.TempDir()
		log := filepath.Join(dir, "log")
		require.NoError(t, os.WriteFile(log, []byte("late, says an earlier one\n"), 0o644))
		p, err := harness.StartProgram("shell", "shell", "", log, "/bin/sh", []string{"-c", script, "shell", dir}, nil, "late")
		require.NoError(t, err)
		t.Cleanup(p.End)
		return p
	}
	t.Run("late", func(t *testing.T) {
		p := start(t, `[ -e $1/once ] && { echo again; exit 3; }; touch $1/once; echo late; exit 1`)
		require.ErrorContains(t, p.Err(), "exit status 3", "the second one's end is the program's")
		require.Contains(t, p.Log(t), "late\nagain\n")
	})
	t.Run("for another reason", func(t *testing.T) {
		p := start(t, `echo broken; exit 1`)
		require.ErrorContains(t, p.Err(), "exit status 1")
		require.Equal(t, 1, strings.Count(p.Log(t), "broken"))
	})
	t.Run("killed", func(t *testing.T) {
		p := start(t, `echo late; exec sleep 600`)
		eventually(t, func() bool { return strings.Contains(p.Log(t), "late\n") })
		p.Kill(t)
		require.False(t, p.Running())
	})
}
