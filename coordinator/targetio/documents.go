package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"hayloft.dev/coordinator/targetio/backups"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/document"
)

// readPoint reads and checks a point's document. wanted is the digest that it
// must have, empty for any.
func (w *worker) readPoint(ctx context.Context, path, wanted string) (*document.Document, error) {
	if err := document.CheckPath(path); err != nil {
		return nil, refuse("%v", err)
	}
	data, err := w.read(ctx, path)
	if err != nil {
		return nil, err
	}
	d, err := document.Parse(data)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if own, err := document.PointPath(d.Point.Namespace, d.Point.Name, d.Point.UID); err != nil || own != path {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
			"%s holds the document of another point, %s/%s", path, d.Point.Namespace, d.Point.Name)}
	}
	if wanted != "" && d.Digest != wanted {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
			"%s has digest %s, but was written with %s: it was exchanged", path, d.Digest, wanted)}
	}
	return d, nil
}

func (w *worker) read(ctx context.Context, path string) ([]byte, error) {
	data, err := w.store.Read(ctx, path, document.MaxBytes)
	if errors.Is(err, store.ErrMissing) {
		return nil, &protocol.Error{Reason: protocol.NotFound, Message: path + " is not on the target"}
	}
	return data, err
}

func unreadable(path string, err error) error {
	reason := protocol.Damaged
	if errors.Is(err, document.ErrVersion) {
		reason = protocol.Invalid
	}
	return &protocol.Error{Reason: reason, Message: fmt.Sprintf("%s: %v", path, err)}
}

// finalize inspects every backup, and only then makes the document. It can be
// repeated: a document that is there with the same content is its result.
func (w *worker) finalize(ctx context.Context, r protocol.FinalizeRequest) (*protocol.FinalizeResult, error) {
	path, err := document.PointPath(r.Point.Namespace, r.Point.Name, r.Point.UID)
	if err != nil {
		return nil, refuse("%v", err)
	}
	draftPath, err := document.DraftPath(r.Point.UID)
	if err != nil {
		return nil, refuse("%v", err)
	}
	result := &protocol.FinalizeResult{Path: path}
	for _, disk := range r.Disks {
		found, err := backups.Inspect(ctx, w.store, disk, true)
		if err != nil {
			return nil, err
		}
		result.Disks = append(result.Disks, found)
	}
	old, err := w.readPoint(ctx, path, "")
	if err != nil && asError(err).Reason != protocol.NotFound {
		return nil, err
	}
	d := old
	if d == nil {
		if d, err = w.readDraft(ctx, draftPath, r.Point); err != nil {
			return nil, err
		}
	}
	d.Point, d.Consistency, d.Disks = r.Point, r.Consistency, r.Disks
	data, digest, err := document.Encode(d)
	if err != nil {
		return nil, refuse("%v", err)
	}
	if old == nil {
		if err := w.writePoint(ctx, path, data); err != nil {
			return nil, err
		}
	} else if old.Digest != digest {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: path + " is on the target already, for other disks: it is not replaced"}
	}
	result.Digest, result.Secrets, result.Notes = digest, len(d.Secrets), d.Notes
	return result, w.store.Remove(ctx, draftPath)
}

func (w *worker) readDraft(ctx context.Context, path string, point document.Point) (*document.Document, error) {
	data, err := w.read(ctx, path)
	if err != nil {
		return nil, err
	}
	d, err := document.ParseDraft(data)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if d.Point.UID != point.UID || d.Point.Name != point.Name || d.Point.Namespace != point.Namespace {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: path + " is the draft of another point"}
	}
	return d, nil
}

// writePoint writes a document and believes it only after reading it back.
func (w *worker) writePoint(ctx context.Context, path string, data []byte) error {
	if err := w.store.Write(ctx, path, data); err != nil {
		return err
	}
	back, err := w.read(ctx, path)
	if err == nil && !bytes.Equal(back, data) {
		err = &protocol.Error{Reason: protocol.Damaged, Message: path + " did not come back as it was written: the target does not keep what it is given"}
	}
	return err
}

// deletePoint removes the document first: without it nobody takes the rest for
// a whole backup.
func (w *worker) deletePoint(ctx context.Context, r protocol.DeleteRequest) error {
	if r.DocumentPath != "" {
		if err := document.CheckPath(r.DocumentPath); err != nil {
			return refuse("%v", err)
		}
		if err := w.store.Remove(ctx, r.DocumentPath); err != nil {
			return err
		}
	}
	if r.DraftUID != "" {
		path, err := document.DraftPath(r.DraftUID)
		if err != nil {
			return refuse("%v", err)
		}
		if err := w.store.Remove(ctx, path); err != nil {
			return err
		}
	}
	if len(r.Backups) == 0 {
		return nil
	}
	return backups.Delete(ctx, w.store, r.Backups)
}
