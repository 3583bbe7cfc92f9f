// Package walls holds the project's structure: which program may link what.
// It asks the go command, so it sees what the compiler sees.
package walls

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// deps are the packages linked into pkg without cgo, which is how the programs
// are built.
func deps(t *testing.T, pkg string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{len .CgoFiles}}", pkg)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestWalls(t *testing.T) {
	walls := []struct {
		from string
		// never is what from must not link: import paths or prefixes that end in "/".
		never []string
		why   string
	}{
		{"hayloft.dev/agent/...", []string{"hayloft.dev/coordinator/", "hayloft.dev/coordinator", "hayloft.dev/cli/"}, "agent and coordinator meet in the API alone"},
		{"hayloft.dev/coordinator/...", []string{"hayloft.dev/agent/", "hayloft.dev/agent", "hayloft.dev/cli/"}, "agent and coordinator meet in the API alone"},
		{"hayloft.dev/pkg/...", []string{"hayloft.dev/agent/", "hayloft.dev/coordinator/", "hayloft.dev/cli/", "hayloft.dev/metrics"}, "pkg is what both sides share"},
		{"hayloft.dev/metrics/...", []string{"hayloft.dev/agent/", "hayloft.dev/coordinator/", "hayloft.dev/cli/"}, "metrics are described apart from what they measure"},
		{"hayloft.dev/coordinator", []string{"github.com/longhorn/longhorn-engine/", "github.com/longhorn/backupstore", "github.com/longhorn/backupstore/", "github.com/containerd/"}, "the coordinator reaches engines through agents and targets through its worker"},
		{"hayloft.dev/coordinator/targetio", []string{"github.com/longhorn/longhorn-engine/", "github.com/containerd/"}, "the target worker knows no engine"},
		{"hayloft.dev/agent", []string{"github.com/longhorn/backupstore", "github.com/longhorn/backupstore/", "github.com/longhorn/longhorn-engine/pkg/qcow"}, "the agent does no target I/O and needs no cgo"},
		{"hayloft.dev/agent", []string{"github.com/containerd/nerdctl/", "github.com/containerd/containerd/"}, "containerd is the pauser's, which most installations do without"},
		{"hayloft.dev/agent/pauser", []string{"k8s.io/", "sigs.k8s.io/", "github.com/longhorn/", "hayloft.dev/pkg/"}, "the pauser is trusted with containerd's socket and talks to nothing else"},
	}
	for _, w := range walls {
		t.Run(w.from, func(t *testing.T) {
			for _, line := range deps(t, w.from) {
				path, _, _ := strings.Cut(line, " ")
				if path == "hayloft.dev/pkg/version" {
					continue // a word that every program says of itself
				}
				for _, n := range w.never {
					if path == n || strings.HasSuffix(n, "/") && strings.HasPrefix(path, n) {
						t.Errorf("%s links %s: %s", w.from, path, w.why)
					}
				}
			}
		})
	}
}

func TestAgentAndPauserNeedNoCgo(t *testing.T) {
	for _, program := range []string{"hayloft.dev/agent", "hayloft.dev/agent/pauser"} {
		for _, line := range deps(t, program) {
			if path, files, _ := strings.Cut(line, " "); files != "0" {
				t.Errorf("%s links %s, which has %s cgo files", program, path, files)
			}
		}
	}
}
