package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/words"
)

const (
	// pointsDir holds the documents of all points.
	pointsDir = "hayloft/points"
	// maxTold bounds what is told of documents that were read: the coordinator
	// takes 16 MiB.
	maxTold = 4 << 20
	// maxStrange bounds the files that are told which are not named as documents
	// are.
	maxStrange = 20
	// maxTrouble is how many documents in a row may fail to be read, for reasons
	// that are not theirs, until the rest is left for the next refresh.
	maxTrouble = 3
)

// refresh lists the documents on the target and reads those that are not known.
// A listing that is not whole tells nothing.
func (w *worker) refresh(ctx context.Context, r protocol.RefreshRequest) (*protocol.RefreshResult, error) {
	if r.MaxDocuments <= 0 || r.CPUMilliseconds <= 0 || len(r.Confirm) > protocol.MaxConfirmed {
		return nil, refuse("a refresh is told how many documents there may be and how much CPU time it may take, and confirms at most %d paths", protocol.MaxConfirmed)
	}
	if err := w.store.LimitCPU(r.CPUMilliseconds); err != nil {
		return nil, err
	}
	l := &look{request: r, known: make(map[string]string, len(r.Known)), result: &protocol.RefreshResult{}}
	for _, k := range r.Known {
		path, version := protocol.ParseKnown(k)
		l.known[path] = version
	}
	for _, dir := range []string{pointsDir, document.HarvesterDir} {
		if err := w.store.Walk(ctx, dir, l.see); err != nil {
			return nil, err
		}
	}
	var err error
	w.readNew(ctx, l)
	for path := range l.known {
		l.result.Gone = append(l.result.Gone, path) // what was listed is not in it any more
	}
	slices.Sort(l.result.Gone)
	w.confirm(ctx, l)
	if l.result.Identity, err = w.checkIdentity(ctx); err != nil {
		return nil, err
	}
	return l.result, nil
}

// look is one look through a target.
type look struct {
	request protocol.RefreshRequest
	known   map[string]string // path -> version, of what was not listed yet
	fresh   []fresh
	result  *protocol.RefreshResult
}

// fresh is a document that is to be read.
type fresh struct {
	path, version string
	changed       bool
	size          int64
}

// see is told of one file.
func (l *look) see(f store.File) error {
	if l.result.Listed++; l.result.Listed > l.request.MaxDocuments {
		return &protocol.Error{Reason: protocol.Invalid, Message: fmt.Sprintf(
			"there are more than %d documents on the target, more than this coordinator takes (--refresh-max-documents)", l.request.MaxDocuments)}
	}
	version := protocol.VersionOf(f.Size, f.Version)
	was, known := l.known[f.Path]
	delete(l.known, f.Path)
	if !known && document.CheckPath(f.Path) != nil {
		if l.result.Strange++; l.result.Strange <= maxStrange {
			l.result.Faults = append(l.result.Faults, protocol.FaultyDocument{
				Path: cut(f.Path, 512), Reason: protocol.Damaged, Message: "it is not named as a document is",
			})
		}
		return nil
	}
	switch {
	case known && was == version:
		l.result.Unchanged++
	case known && was == protocol.AnyVersion:
		l.result.Unchanged++
		l.result.Seen = append(l.result.Seen, protocol.Known(f.Path, version))
	default:
		l.fresh = append(l.fresh, fresh{f.Path, version, known, f.Size})
	}
	return nil
}

// readNew reads what is new or changed, as far as the request and the time allow.
// A document that cannot be taken for one is told by name and hinders no other.
func (w *worker) readNew(ctx context.Context, l *look) {
	// The order of a listing is the service's own. Whoever changes documents all
	// the time must not keep new ones from being read.
	slices.SortFunc(l.fresh, func(a, b fresh) int {
		if a.changed != b.changed {
			return order(a.changed)
		}
		return strings.Compare(a.path, b.path)
	})
	told, trouble := 0, 0
	for i, f := range l.fresh {
		if i >= l.request.MaxRead || told > maxTold || trouble >= maxTrouble || ctx.Err() != nil || w.store.CPUTime().Milliseconds() >= l.request.CPUMilliseconds {
			l.result.Unread = len(l.fresh) - i
			return
		}
		found, err := w.readFresh(ctx, f)
		if err == nil {
			trouble = 0
			l.result.Read = append(l.result.Read, *found)
			told += 1024 + 512*len(found.Disks)
			continue
		}
		e := asError(err)
		if e.Reason == protocol.NotFound {
			continue // it was removed since it was listed
		}
		fault := protocol.FaultyDocument{Path: f.path, Version: f.version, Changed: f.changed, Reason: e.Reason}
		if ofTheDocument(e.Reason) {
			trouble = 0
			fault.Message = cut(strings.TrimPrefix(e.Message, f.path+": "), 300)
		} else {
			trouble++
			fault.Version = "" // to be read again
			fault.Message = cut("it could not be read: "+explain(ctx, &protocol.Request{Operation: protocol.OpRefresh}, err, w.secrets).Message, 300)
		}
		l.result.Faults = append(l.result.Faults, fault)
		told += 1024
	}
}

func order(last bool) int {
	if last {
		return 1
	}
	return -1
}

func ofTheDocument(r protocol.Reason) bool {
	switch r {
	case protocol.Damaged, protocol.Mismatch, protocol.Invalid, protocol.Removing:
		return true
	}
	return false
}

func (w *worker) readFresh(ctx context.Context, f fresh) (*protocol.FoundDocument, error) {
	if f.size > document.MaxBytes {
		return nil, &protocol.Error{Reason: protocol.Damaged, Message: fmt.Sprintf("it has %d bytes, more than the %d that a document may have", f.size, document.MaxBytes)}
	}
	d, err := w.readPoint(ctx, f.path, "")
	if err != nil {
		return nil, err
	}
	return &protocol.FoundDocument{
		Path: f.path, Version: f.version, Changed: f.changed, Digest: d.Digest,
		Origin: d.Origin, Point: d.Point, Consistency: d.Consistency, Disks: d.Disks,
		Secrets: d.Readable(), Sealed: len(d.Secrets) - d.Readable(),
	}, nil
}

// confirm asks for single documents that were not listed. The listing went well,
// so the target is there and what it says of one file is meant; what it says
// nothing of stays unconfirmed.
func (w *worker) confirm(ctx context.Context, l *look) {
	for _, path := range l.request.Confirm {
		if document.CheckPath(path) != nil || !slices.Contains(l.result.Gone, path) {
			continue
		}
		if _, err := w.store.Size(ctx, path); errors.Is(err, store.ErrMissing) {
			l.result.Absent = append(l.result.Absent, path)
		}
	}
}

// cut keeps the beginning of a text that others wrote, for a message.
func cut(s string, most int) string { return words.Clean(s, most) }
