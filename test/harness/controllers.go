package harness

import (
	"path/filepath"
	"strings"
	"testing"
)

// StartControllers runs some of the real controller manager's controllers behind APIServer, by their names, until the
// end of the test.
func StartControllers(t testing.TB, names ...string) {
	t.Helper()
	kube, err := findBinary("local/kube")
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProgram("kube", "controllers", "", filepath.Join(t.TempDir(), "log"), kube,
		[]string{"controller-manager", "--dir", filepath.Dir(Kubeconfig(t)), "--", "--controllers=" + strings.Join(names, ",")}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("the controllers' log:\n%s", tail(p.log))
		}
	})
}
