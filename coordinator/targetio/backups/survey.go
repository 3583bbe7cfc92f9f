package backups

import (
	"context"
	"errors"
	"path"
	"sync"
	"time"

	"github.com/longhorn/backupstore"
	"golang.org/x/sync/errgroup"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/document"
)

// listedAtOnce bounds the listings under way: each waits for the service much
// longer than it works.
const listedAtOnce = 8

// All are the backups of every volume on the target, by their names alone and in no
// order: a request for each folder of volumes and for each volume, none for a
// backup. One listing of everything would list every block, too.
func All(ctx context.Context, s *store.Store) ([]protocol.Backup, error) {
	at := []string{path.Join(backupstore.GetBackupstoreBase(), backupstore.VOLUME_DIRECTORY)}
	for range 3 { // two levels of folders, by checksum, and the volumes in them
		below, err := listEach(ctx, at, func(ctx context.Context, dir string) ([]string, error) {
			names, err := s.List(ctx, dir)
			for i, n := range names {
				names[i] = path.Join(dir, path.Base(n))
			}
			return names, err
		})
		if err != nil {
			return nil, err
		}
		at = below
	}
	return listEach(ctx, at, func(ctx context.Context, dir string) (all []protocol.Backup, err error) {
		volume := path.Base(dir)
		if document.CheckEngineName("volume", volume) != nil {
			return nil, nil
		}
		there, err := list(ctx, s, volume)
		for name := range there {
			if document.CheckEngineName("backup", name) == nil {
				all = append(all, protocol.Backup{Volume: volume, Backup: name})
			}
		}
		return all, err
	})
}

// listEach lists several places at once and puts together what is there.
func listEach[T any](ctx context.Context, at []string, list func(context.Context, string) ([]T, error)) (all []T, err error) {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listedAtOnce)
	for _, place := range at {
		group.Go(func() error {
			there, err := list(ctx, place)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, there...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return all, nil
}

// State tells whether a backup is complete, and when it was last written. One that
// cannot be read counts as in progress: neither can be restored. It is gone when
// nothing is there.
func State(ctx context.Context, s *store.Store, b protocol.Backup) (progress bool, written time.Time, gone bool, err error) {
	written, err = s.Modified(ctx, backupConfig(b.Volume, b.Backup))
	if errors.Is(err, store.ErrMissing) {
		return false, written, true, nil
	}
	if err != nil {
		return false, written, false, err
	}
	cfg, err := readBackup(ctx, s, b.Volume, b.Backup)
	switch {
	case errors.Is(err, store.ErrMissing):
		return false, written, true, nil
	case isDamaged(err):
		return true, written, false, nil
	case err != nil:
		return false, written, false, err
	}
	return inProgress(cfg), written, false, nil
}
