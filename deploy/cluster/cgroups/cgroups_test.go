package cgroups

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRemoveTree: only folders are removed by hand; one with a file, which a cgroup's own are not, stays and is told.
func TestRemoveTree(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	if err := os.MkdirAll(filepath.Join(top, "pods", "one"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(top, "pods", "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(top); err == nil {
		t.Error("a file went")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing
		if err := removeTree(top); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(top); !os.IsNotExist(err) {
		t.Errorf("it is there: %v", err)
	}
}
