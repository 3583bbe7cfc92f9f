package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"hayloft.dev/coordinator/targetio/store"
)

const (
	// tidyAge is how old a probe's file must be for nobody to wait for it any more.
	tidyAge = time.Hour
	// tidyTime bounds what tidying may take, which no probe may fail of.
	tidyTime = 4 * time.Second
	// tidyFiles bounds how many files are looked at; the next time there are others.
	tidyFiles = 16
)

// tidy removes what probes have left that were killed in the middle. How old a file is
// the target's own clock tells, by another file that is written for it: this cluster's,
// or the other's that has just written one, may be wrong.
func (w *worker) tidy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tidyTime)
	defer cancel()
	names, err := w.store.List(ctx, probeDir)
	if err != nil {
		return err
	}
	var left []string
	for _, name := range names {
		if ofAProbe(name) && len(left) < tidyFiles {
			left = append(left, probeDir+"/"+name)
		}
	}
	if len(left) == 0 {
		return nil
	}
	now, err := w.targetsTime(ctx)
	if err != nil {
		return err
	}
	for _, file := range left {
		written, err := w.store.Modified(ctx, file)
		if errors.Is(err, store.ErrMissing) {
			continue // somebody's probe has ended
		}
		if err != nil {
			return err
		}
		if now.Sub(written) < tidyAge {
			continue
		}
		if _, err := w.store.Discard(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// targetsTime is what a target's clock says now.
func (w *worker) targetsTime(ctx context.Context) (time.Time, error) {
	path := probeDir + "/" + uuid.NewString()
	if err := w.store.Write(ctx, path, []byte("now")); err != nil {
		return time.Time{}, err
	}
	now, err := w.store.Modified(ctx, path)
	_, discarded := w.store.Discard(ctx, path)
	return now, errors.Join(err, discarded)
}

// ofAProbe tells whether a file of probeDir is a probe's, or what is left of writing
// one in a directory.
func ofAProbe(name string) bool {
	if rest, hidden := strings.CutPrefix(name, "."); hidden {
		own, _, partial := strings.Cut(rest, ".tmp-")
		if !partial {
			return false
		}
		name = own
	}
	id, err := uuid.Parse(name)
	return err == nil && id.String() == name
}
