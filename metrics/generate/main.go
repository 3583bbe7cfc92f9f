// Command generate writes what is made of the catalog of metrics, docs/metrics.md,
// and the files of the dashboards. It runs in the module's root.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"hayloft.dev/metrics"
	"hayloft.dev/metrics/dashboards"
)

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate() error {
	if err := os.WriteFile("docs/metrics.md", []byte(metrics.Document()), 0o644); err != nil {
		return err
	}
	files, err := dashboards.Files()
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join("metrics", "dashboards", name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
