package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// PauserSocket is a path on which a pauser may listen; no other test's does.
func (s *Stack) PauserSocket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pauser") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// StartPauser starts a pauser on a containerd, which agents ask at the path listen. It is killed at the end of the
// test, if it still runs, and its worker with it.
func (s *Stack) StartPauser(t testing.TB, containerd, listen string, args ...string) *Program {
	t.Helper()
	args = append([]string{"--containerd-socket", containerd, "--listen", listen, "--log-level", s.logLevel}, args...)
	p, err := startProgram("pauser", "pauser", "", filepath.Join(s.Logs, "pauser.log"), TestedBinary(t, "pauser"), args, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}
