package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/targetio/backups"
	"hayloft.dev/coordinator/targetio/leftover"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/document"
)

// draftsDir holds the drafts of all points.
const draftsDir = "hayloft/drafts"

// leftovers looks for what nobody needs any more. Of what is to be removed it looks
// once more, at all that a verdict rests on, right before.
func (w *worker) leftovers(ctx context.Context, r protocol.LeftoversRequest) (*protocol.LeftoversResult, error) {
	if r.Cluster == "" || r.MaxTold <= 0 || r.MinAgeMilliseconds < 0 || r.CPUMilliseconds <= 0 || r.Brief && r.Remove {
		return nil, refuse("a look for leftovers is told which cluster asks, how old they must be, and what it may cost; a brief one removes nothing")
	}
	if err := w.store.LimitCPU(r.CPUMilliseconds); err != nil {
		return nil, err
	}
	s, err := w.survey(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.Remove {
		if err := s.remove(ctx); err != nil {
			return nil, err
		}
	}
	return s.result(), nil
}

// survey is one look for leftovers.
type survey struct {
	*worker
	request protocol.LeftoversRequest
	living  map[types.UID]bool
	named   map[string]bool
	// documents and drafts by their point.
	documents map[types.UID]string
	drafts    map[types.UID]string
	// read documents.
	read map[types.UID]leftover.Document
	// missing are documents that the cluster knows and the target does not list.
	missing int

	found []protocol.Leftover
	kept  string
	// unjudged backups were not looked at.
	unjudged int
}

func (w *worker) survey(ctx context.Context, r protocol.LeftoversRequest) (*survey, error) {
	s := &survey{worker: w, request: r, living: map[types.UID]bool{}, named: map[string]bool{}, read: map[types.UID]leftover.Document{}}
	for _, uid := range r.Living {
		s.living[uid] = true
	}
	for _, n := range r.Named {
		s.named[n] = true
	}
	// Backups first: what is made meanwhile has its document listed after.
	candidates, err := backups.All(ctx, w.store)
	if err != nil {
		return nil, err
	}
	if err := s.list(ctx); err != nil {
		return nil, err
	}
	candidates = slices.DeleteFunc(candidates, s.needed)
	for i, b := range candidates {
		if r.Brief && w.store.CPUTime().Milliseconds() >= r.CPUMilliseconds {
			s.unjudged = len(candidates) - i
			break
		}
		l, err := s.judge(ctx, b)
		if err != nil {
			return nil, err
		}
		if l.Kind != "" {
			s.found = append(s.found, l)
		}
	}
	for point := range s.drafts {
		l, err := s.judgeDraft(ctx, point)
		if err != nil {
			return nil, err
		}
		if l.Kind != "" {
			s.found = append(s.found, l)
		}
	}
	slices.SortFunc(s.found, func(a, b protocol.Leftover) int {
		return strings.Compare(a.Volume+"/"+a.Backup+a.Path, b.Volume+"/"+b.Backup+b.Path)
	})
	return s, nil
}

// needed tells of a backup, without looking at it, that somebody needs it, or that it
// is not asked for.
func (s *survey) needed(b protocol.Backup) bool {
	point := leftover.PointOf(b.Backup)
	if s.named[b.Backup] || s.living[point] {
		return true
	}
	_, whole := s.documents[point]
	return s.request.Brief && whole
}

// list finds the documents and drafts there are.
func (s *survey) list(ctx context.Context) error {
	s.documents, s.drafts, s.missing = map[types.UID]string{}, map[types.UID]string{}, 0
	all := map[string]bool{}
	err := s.store.Walk(ctx, pointsDir, func(f store.File) error {
		if p, err := document.ParsePath(f.Path); err == nil {
			s.documents[p.UID], all[f.Path] = f.Path, true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range s.request.Documents {
		if !all[p] && !document.ByHarvester(p) {
			s.missing++
		}
	}
	return s.store.Walk(ctx, draftsDir, func(f store.File) error {
		uid := types.UID(strings.TrimSuffix(path.Base(f.Path), ".json"))
		if own, err := document.DraftPath(uid); err == nil && own == f.Path {
			s.drafts[uid] = f.Path
		}
		return nil
	})
}

func (s *survey) judge(ctx context.Context, b protocol.Backup) (protocol.Leftover, error) {
	point := leftover.PointOf(b.Backup)
	out := protocol.Leftover{Volume: b.Volume, Backup: b.Backup, Point: point}
	facts, err := s.facts(ctx, point)
	if err != nil {
		return out, err
	}
	if facts.Document.Named[b.Backup] {
		return out, nil
	}
	progress, written, gone, err := backups.State(ctx, s.store, b)
	if err != nil || gone {
		return out, err
	}
	facts.Age = time.Since(written)
	v := leftover.Backup(facts, b.Backup, progress)
	out.Kind, out.Keep = v.Kind, v.Keep
	return out, nil
}

func (s *survey) judgeDraft(ctx context.Context, point types.UID) (protocol.Leftover, error) {
	file := s.drafts[point]
	out := protocol.Leftover{Path: file, Point: point}
	facts, err := s.facts(ctx, point)
	if err != nil {
		return out, err
	}
	written, err := s.store.Modified(ctx, file)
	if errors.Is(err, store.ErrMissing) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	facts.Age = time.Since(written)
	v := leftover.Draft(facts)
	out.Kind, out.Keep = v.Kind, v.Keep
	return out, nil
}

// facts of a point; a document or draft that cannot be read for reasons that are
// not its own is an error.
func (s *survey) facts(ctx context.Context, point types.UID) (leftover.Facts, error) {
	f := leftover.Facts{Own: s.request.Cluster, Living: s.living[point], MinAge: time.Duration(s.request.MinAgeMilliseconds) * time.Millisecond}
	if file, ok := s.documents[point]; ok && !f.Living {
		d, known := s.read[point]
		if !known {
			d = leftover.Document{Exists: true}
			doc, err := s.readPoint(ctx, file, "")
			switch {
			case err == nil:
				d.Read, d.Cluster, d.Named = true, doc.Origin.ClusterUID, map[string]bool{}
				for _, disk := range doc.Disks {
					d.Named[disk.Backup] = true
				}
			case !ofTheDocument(asError(err).Reason) && asError(err).Reason != protocol.NotFound:
				return f, err
			}
			s.read[point] = d
		}
		f.Document = d
	}
	if file, ok := s.drafts[point]; ok && !f.Living {
		f.Draft = true
		data, err := s.draft(ctx, file)
		if err != nil {
			return f, err
		}
		if d, err := document.ParseDraft(data); err == nil {
			f.Drafter = d.Origin.ClusterUID
		}
	}
	return f, nil
}

// draft reads a draft; one that is gone or too large is as good as one that
// cannot be understood.
func (s *survey) draft(ctx context.Context, file string) ([]byte, error) {
	data, err := s.store.Read(ctx, file, document.MaxBytes)
	if errors.Is(err, store.ErrMissing) || err != nil && asError(err).Reason == protocol.Damaged {
		return nil, nil
	}
	return data, err
}

// remove removes what may be removed. First all that the verdicts rest on is
// looked at again, so that what somebody has taken up meanwhile stays.
func (s *survey) remove(ctx context.Context) error {
	if err := s.list(ctx); err != nil {
		return err
	}
	if s.missing > 0 {
		s.kept = fmt.Sprintf("the target does not list %d documents of points that this cluster has: nothing is removed until it does, or they are deleted", s.missing)
		return nil
	}
	if len(s.documents) == 0 && len(s.drafts) == 0 && len(s.found) > 0 {
		s.kept = "the target lists neither a document nor a draft: an empty listing tells nothing of whose the backups are, so nothing is removed"
		return nil
	}
	s.read = map[types.UID]leftover.Document{}
	var complete []protocol.Backup
	var removed []int
	for i := range s.found {
		l := &s.found[i]
		if l.Keep != "" {
			continue
		}
		var again protocol.Leftover
		var err error
		if l.Path != "" {
			if s.drafts[l.Point] == "" {
				continue
			}
			again, err = s.judgeDraft(ctx, l.Point)
		} else {
			again, err = s.judge(ctx, protocol.Backup{Volume: l.Volume, Backup: l.Backup})
		}
		if err != nil {
			return err
		}
		if again.Kind == "" || again.Keep != "" {
			l.Keep = "it changed while it was looked at"
			continue
		}
		removed = append(removed, i)
		if l.Path == "" {
			complete = append(complete, protocol.Backup{Volume: l.Volume, Backup: l.Backup})
		}
	}
	if len(complete) > 0 {
		if err := backups.Delete(ctx, s.store, complete); err != nil {
			return err
		}
	}
	for _, i := range removed { // drafts last: they tell whose the backups were
		if l := &s.found[i]; l.Path != "" {
			if err := s.store.Remove(ctx, l.Path); err != nil {
				return err
			}
		}
		s.found[i].Removed = true
	}
	return nil
}

func (s *survey) result() *protocol.LeftoversResult {
	out := &protocol.LeftoversResult{Kept: s.kept, Unjudged: s.unjudged}
	for _, l := range s.found {
		switch l.Kind {
		case protocol.LeftInProgress:
			out.InProgress++
		case protocol.LeftNoDocument:
			out.NoDocument++
		case protocol.LeftDraft:
			out.Drafts++
		}
		if l.Removed {
			out.Removed++
		} else if l.Keep == "" {
			out.Removable++
		}
	}
	out.Told = s.found[:min(len(s.found), s.request.MaxTold)]
	return out
}
