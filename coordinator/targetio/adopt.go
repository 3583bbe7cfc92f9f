package main

import (
	"context"
	"fmt"

	"hayloft.dev/coordinator/targetio/backups"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/document"
)

// adopted reads one of Harvester's files as a document. wanted is the digest that
// the file must have, empty for any.
func (w *worker) adopted(path string, data []byte, wanted string) (*document.Document, error) {
	if w.store == nil {
		return nil, refuse("%s is not in the cluster: Harvester's backups are on targets", path)
	}
	d, err := document.ParseHarvester(path, data)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if wanted != "" && d.Digest != wanted {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Transient: true, Message: fmt.Sprintf(
			"%s has digest %s, not %s: Harvester has written it anew, the next refresh takes that up", path, d.Digest, wanted)}
	}
	return d, nil
}

// complete adds what only the backups themselves tell of a point of Harvester's, and
// where images can be had whose document does not say it.
func (w *worker) complete(ctx context.Context, d *document.Document) error {
	for i := range d.Disks {
		if d.Origin.MadeBy == "" {
			break
		}
		if err := backups.Describe(ctx, w.store, &d.Disks[i]); err != nil {
			return err
		}
	}
	return w.sources(ctx, d)
}

// deleteHarvesters deletes a backup of Harvester's: first its file, without which
// Harvester takes the rest for no backup, and nobody else does either.
func (w *worker) deleteHarvesters(ctx context.Context, path string, going []protocol.Backup) error {
	if err := w.documents.Remove(ctx, path); err != nil {
		return err
	}
	if len(going) == 0 {
		return nil
	}
	return backups.Delete(ctx, w.store, going)
}
