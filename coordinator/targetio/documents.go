package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"hayloft.dev/coordinator/targetio/backups"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
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
	if document.ByHarvester(path) {
		return w.adopted(path, data, wanted)
	}
	d, err := document.Parse(data)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if own, err := document.PointPath(d.Point.Namespace, d.Point.Name, d.Point.UID); err != nil || own != path {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
			"%s holds the document of another point, %s/%s", path, d.Point.Namespace, d.Point.Name)}
	}
	if (w.store == nil) != (d.Type() == v1alpha1.TypeSnapshot) {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
			"%s is the document of a point of type %s, which does not lie here", path, d.Type())}
	}
	if wanted != "" && d.Digest != wanted {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
			"%s has digest %s, but was written with %s: it was exchanged", path, d.Digest, wanted)}
	}
	return d, nil
}

func (w *worker) read(ctx context.Context, path string) ([]byte, error) {
	data, err := w.documents.Read(ctx, path, document.MaxBytes)
	if errors.Is(err, store.ErrMissing) {
		return nil, &protocol.Error{Reason: protocol.NotFound, Message: path + " is not " + w.where()}
	}
	return data, err
}

func unreadable(path string, err error) error {
	reason := protocol.Damaged
	switch {
	case errors.Is(err, document.ErrVersion):
		reason = protocol.Invalid
	case errors.Is(err, document.ErrRemoving):
		reason = protocol.Removing
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
	if w.store != nil {
		if result.Disks, err = w.inspectNew(ctx, r.Point.Namespace, r.Disks); err != nil {
			return nil, err
		}
	}
	old, draft, err := w.latest(ctx, path, draftPath, r.Point)
	if err != nil {
		return nil, err
	}
	d := old
	if d == nil {
		d = draft
		// It may have been captured before the target had recipients.
		if err := w.seal(d); err != nil {
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
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: path + " is there already, for other disks: it is not replaced"}
	}
	result.Digest, result.Secrets, result.Notes = digest, d.Readable(), d.Notes
	result.Sealed = len(d.Secrets) - result.Secrets
	return result, w.documents.Remove(ctx, draftPath)
}

// inspectNew inspects backups that were just made.
func (w *worker) inspectNew(ctx context.Context, namespace string, disks []document.Disk) ([]protocol.Inspection, error) {
	var out []protocol.Inspection
	for _, disk := range disks {
		found, err := backups.Inspect(ctx, w.store, namespace, disk, true)
		if err != nil {
			return nil, err
		}
		out = append(out, found)
	}
	return out, nil
}

// where the documents lie, for a sentence.
func (w *worker) where() string {
	if w.store == nil {
		return "in the cluster"
	}
	return "on the target"
}

// latest is a point's document, or its draft while there is none. Another worker, of a
// leader that this one's follows or that follows it, may put the one in the other's
// place between the two looks: without a draft the document is looked for once more.
func (w *worker) latest(ctx context.Context, path, draftPath string, point document.Point) (old, draft *document.Document, err error) {
	for range 2 {
		old, err = w.readPoint(ctx, path, "")
		if err == nil || asError(err).Reason != protocol.NotFound {
			return old, nil, err
		}
		draft, err = w.readDraft(ctx, draftPath, point)
		if err == nil || asError(err).Reason != protocol.NotFound {
			return nil, draft, err
		}
	}
	return nil, nil, err
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
	if err := w.documents.Write(ctx, path, data); err != nil {
		return err
	}
	back, err := w.read(ctx, path)
	if err == nil && !bytes.Equal(back, data) {
		err = &protocol.Error{Reason: protocol.Damaged, Message: path + " did not come back as it was written"}
	}
	return err
}
