package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
)

// probeDir holds the small files of probes, each for a moment.
const probeDir = "hayloft/probes"

// probe lists, writes, reads back and deletes, since a target that allows only
// some of it fails a backup late.
func (w *worker) probe(ctx context.Context) error {
	if _, err := w.store.List(ctx, ""); err != nil {
		return err
	}
	content := []byte(uuid.NewString())
	path := fmt.Sprintf("%s/%s", probeDir, content)
	if err := w.store.Write(ctx, path, content); err != nil {
		return err
	}
	back, err := w.store.Read(ctx, path, int64(len(content)))
	if errors.Is(err, store.ErrMissing) || err == nil && !bytes.Equal(back, content) {
		err = &protocol.Error{Reason: protocol.Damaged, Message: fmt.Sprintf(
			"what was written to %s did not come back: the target does not keep what it is given", path)}
	}
	if removed := w.store.Remove(ctx, path); err == nil {
		err = removed
	}
	return err
}
