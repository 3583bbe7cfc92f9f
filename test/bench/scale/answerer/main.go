// Program answerer stands in for the target worker where only the coordinator is
// measured: it says yes to every request, and touches neither a target nor the
// cluster.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"hayloft.dev/coordinator/targetio/protocol"
)

func main() {
	if err := answer(); err != nil {
		fmt.Fprintln(os.Stderr, "answerer:", err)
		os.Exit(1)
	}
}

func answer() error {
	var r protocol.Request
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	var a protocol.Answer
	switch r.Operation {
	case protocol.OpFinalize:
		p := r.Finalize.Point
		a.Finalize = &protocol.FinalizeResult{
			Path:   fmt.Sprintf("hayloft/points/%s/%s-%s.json", p.Namespace, p.Name, p.UID),
			Digest: "sha256:" + strings.Repeat("0", 64),
		}
		for _, d := range r.Finalize.Disks {
			a.Finalize.Disks = append(a.Finalize.Disks, protocol.Inspection{Name: d.Name, SizeBytes: 64 << 20, UploadedBytes: 64 << 20, Incremental: true})
		}
	case protocol.OpRefresh:
		a.Refresh = &protocol.RefreshResult{Listed: len(r.Refresh.Known), Unchanged: len(r.Refresh.Known)}
	}
	return json.NewEncoder(os.Stdout).Encode(&a)
}
