package backups

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/longhorn/backupstore"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/document"
)

// Each tells of every backup of every volume on the target, by its name alone: a
// request for each folder of volumes and for each volume, none for a backup.
func Each(ctx context.Context, s *store.Store, see func(protocol.Backup) error) error {
	dirs := []string{path.Join(backupstore.GetBackupstoreBase(), backupstore.VOLUME_DIRECTORY)}
	for range 2 { // two levels of folders, by checksum
		var below []string
		for _, dir := range dirs {
			names, err := s.List(ctx, dir)
			if err != nil {
				return err
			}
			for _, n := range names {
				below = append(below, path.Join(dir, path.Base(n)))
			}
		}
		dirs = below
	}
	for _, dir := range dirs {
		volumes, err := s.List(ctx, dir)
		if err != nil {
			return err
		}
		for _, v := range volumes {
			volume := path.Base(v)
			if document.CheckEngineName("volume", volume) != nil {
				continue
			}
			there, err := list(ctx, s, volume)
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(there)) {
				if document.CheckEngineName("backup", name) != nil {
					continue
				}
				if err := see(protocol.Backup{Volume: volume, Backup: name}); err != nil {
					return err
				}
			}
		}
	}
	return nil
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
