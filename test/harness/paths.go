package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// moduleLine is how the go.mod at the root of the repository begins.
const moduleLine = "module hayloft.dev\n"

// Root is the root of the repository, found by walking up from the working directory, which for a test is its package.
func Root(t testing.TB) string {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func findRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte(moduleLine)) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no folder above %s has the go.mod of hayloft.dev", start)
		}
	}
}

// findBinary is the path of a built program, given relative to the repository's bin folder.
func findBinary(name string) (string, error) {
	root, err := findRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		target := "build"
		switch filepath.Dir(name) {
		case "local", "race":
			target = filepath.Dir(name)
		}
		return "", fmt.Errorf("%s is missing: run `make %s` first", filepath.Join("bin", name), target)
	}
	return path, nil
}
