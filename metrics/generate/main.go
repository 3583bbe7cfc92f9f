// Command generate writes what is made of the catalog of metrics: docs/metrics.md
// and the dashboards. It runs in the module's root.
package main

import (
	"fmt"
	"os"

	"hayloft.dev/metrics"
)

func main() {
	if err := os.WriteFile("docs/metrics.md", []byte(metrics.Document()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
