package main

import (
	"context"
	"errors"
	"slices"

	"hayloft.dev/coordinator/targetio/backups"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/document"
)

// deletePoint puts a Removal in the document's place, removes the data, and the
// document last. Wherever it is cut off, nobody takes the rest for a whole
// point, and what is still to be removed stands on the target.
func (w *worker) deletePoint(ctx context.Context, r protocol.DeleteRequest) error {
	if w.store == nil && len(r.Backups) > 0 {
		return refuse("a point in the cluster has no backups to delete")
	}
	files := []string{}
	if r.DraftUID != "" {
		path, err := document.DraftPath(r.DraftUID)
		if err != nil {
			return refuse("%v", err)
		}
		files = append(files, path)
	}
	going := r.Backups
	if path := r.DocumentPath; path != "" {
		point, err := document.ParsePath(path)
		if err != nil {
			return refuse("%v", err)
		}
		if r.Found {
			if err := backups.CheckOwners(ctx, w.store, point.Namespace, going); err != nil {
				return err
			}
		}
		if document.ByHarvester(path) {
			return w.deleteHarvesters(ctx, path, going)
		}
		files = append(files, path)
		if w.store != nil {
			if going, err = w.mark(ctx, path, point, going); err != nil {
				return err
			}
		}
	}
	if len(going) > 0 {
		if err := backups.Delete(ctx, w.store, going); err != nil {
			return err
		}
	}
	for _, path := range files {
		if err := w.documents.Remove(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// mark puts a Removal where a document is, if there is one: what it was does not
// matter any more, so one that cannot be read is replaced too. It returns the
// backups to remove: what is asked for, and what a former deletion has named.
func (w *worker) mark(ctx context.Context, path string, point document.Point, going []protocol.Backup) ([]protocol.Backup, error) {
	data, err := w.documents.Read(ctx, path, document.MaxBytes)
	switch {
	case errors.Is(err, store.ErrMissing):
		return going, nil
	case err != nil && asError(err).Reason != protocol.Damaged:
		return nil, err
	}
	all := slices.Clone(going)
	former, err := document.ParseRemoval(data)
	if err == nil && former.Point.UID == point.UID {
		for _, b := range former.Backups {
			if b := protocol.Backup(b); !slices.Contains(all, b) {
				all = append(all, b)
			}
		}
		if len(all) == len(former.Backups) {
			return all, nil
		}
	}
	removal := document.Removal{Point: point}
	for _, b := range all[:min(len(all), document.MaxRemoved)] {
		removal.Backups = append(removal.Backups, document.RemovedBackup(b))
	}
	if data, err = document.EncodeRemoval(removal); err != nil {
		return nil, refuse("%v", err)
	}
	return all, w.writePoint(ctx, path, data)
}
