package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"hayloft.dev/coordinator/targetio/protocol"
)

// probeDir holds the small files of probes, each for a moment.
const probeDir = "hayloft/probes"

// probe lists, writes, reads back and deletes, since a target that allows only
// some of it fails a backup late. Of one that is only read it asks for no more
// than a restore needs.
func (w *worker) probe(ctx context.Context, readOnly bool) (*protocol.ProbeResult, error) {
	if _, err := w.store.List(ctx, ""); err != nil {
		return nil, err
	}
	content := uuid.NewString()
	path := fmt.Sprintf("%s/%s", probeDir, content)
	if readOnly {
		return &protocol.ProbeResult{}, w.store.Readable(ctx, path)
	}
	keeps, err := w.store.Trial(ctx, path, []byte(content))
	return &protocol.ProbeResult{Keeps: keeps}, err
}
