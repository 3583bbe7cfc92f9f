// Program gather writes the CustomResourceDefinitions that the stack needs from others (Longhorn, KubeVirt,
// VolumeSnapshots) into a folder, read from the modules that publish them. None of them is kept in this repository.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Versions are those that the stack's programs have; Longhorn's is the one in go.mod.
const (
	longhornModule = "github.com/longhorn/longhorn-manager"
	kubevirtModule = "kubevirt.io/kubevirt@v1.7.0"
	snapshotModule = "github.com/kubernetes-csi/external-snapshotter/client/v8@v8.2.0"
)

func main() {
	out := flag.String("out", "", "folder to write to")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "gather:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	if out == "" {
		return fmt.Errorf("-out is missing")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, source := range []struct {
		module, file string
		read         func(moduleDir string) ([]byte, error)
	}{
		{longhornModule, "longhorn.yaml", longhorn},
		{kubevirtModule, "kubevirt.yaml", kubevirt},
		{snapshotModule, "snapshot.yaml", snapshots},
	} {
		dir, err := moduleDir(source.module)
		if err != nil {
			return err
		}
		data, err := source.read(dir)
		if err != nil {
			return fmt.Errorf("reading the definitions of %s: %w", source.module, err)
		}
		if err := os.WriteFile(filepath.Join(out, source.file), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// moduleDir asks the go command for a module's folder, fetching the module if need be.
func moduleDir(module string) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w: %s", module, err, data)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(data, &answer); err != nil {
		return "", fmt.Errorf("fetching %s: %w", module, err)
	}
	return answer.Dir, nil
}
