package main

import (
	"context"

	"github.com/google/uuid"

	"hayloft.dev/coordinator/targetio/protocol"
)

// probeDir holds the small files of probes, each for a moment.
const probeDir = "hayloft/probes"

// probe lists, writes, reads back and deletes, since a target that allows only
// some of it fails a backup late. Of one that is only read it asks for no more
// than a restore needs.
func (w *worker) probe(ctx context.Context, request *protocol.Request) (*protocol.ProbeResult, error) {
	if _, err := w.store.List(ctx, ""); err != nil {
		return nil, err
	}
	content := uuid.NewString()
	path := probeDir + "/" + content
	if request.Target.Spec.ReadOnly {
		return &protocol.ProbeResult{}, w.store.Readable(ctx, path)
	}
	keeps, err := w.store.Trial(ctx, path, []byte(content))
	found := &protocol.ProbeResult{Keeps: keeps}
	if err == nil && request.Probe != nil && request.Probe.Tidy {
		if err := w.tidy(ctx); err != nil {
			found.Untidied = explain(ctx, request, err, w.secrets).Message
		}
	}
	return found, err
}
