package backups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/longhorn/backupstore"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/document"
)

// Drop removes the configuration that a transfer which did not end well left
// behind. It takes no lock: the name was used for this attempt alone, and while
// such a configuration is there backupstore frees no block of the volume. A
// complete backup is refused, one that is not there is fine.
func Drop(ctx context.Context, s *store.Store, b protocol.Backup) error {
	if err := check(b); err != nil {
		return err
	}
	// A listing first: it tells a missing bucket from a missing backup.
	there, err := list(ctx, s, b.Volume)
	if err != nil {
		return err
	}
	if !there[b.Backup] {
		return nil
	}
	cfg, err := readBackup(ctx, s, b.Volume, b.Backup)
	if errors.Is(err, store.ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	if !inProgress(cfg) {
		return fault(protocol.Mismatch, "backup %s of volume %s is complete: only an attempt that is not is dropped", b.Backup, b.Volume)
	}
	return s.Remove(ctx, backupConfig(b.Volume, b.Backup))
}

// Delete removes backups and frees the blocks that no other backup of their
// volumes uses. What is not there is fine; blocks are looked for all the same,
// since a deletion that was killed may have left some.
//
// The volume's own configuration stays, a few hundred bytes: a backup that is
// just starting has read it and counts on it, and Longhorn lists the volume by
// it. Delete registers its driver with backupstore, so it can run once in a
// process.
func Delete(ctx context.Context, s *store.Store, backups []protocol.Backup) error {
	volumes := map[string][]string{}
	for _, b := range backups {
		if err := check(b); err != nil {
			return err
		}
		if !slices.Contains(volumes[b.Volume], b.Backup) {
			volumes[b.Volume] = append(volumes[b.Volume], b.Backup)
		}
	}
	driver := s.Driver(ctx)
	err := backupstore.RegisterDriver(driver.Kind(), func(string) (backupstore.BackupStoreDriver, error) { return driver, nil })
	if err != nil {
		return fmt.Errorf("preparing the deletion of backups: %w", err)
	}
	var errs []error
	for _, volume := range slices.Sorted(maps.Keys(volumes)) {
		// One volume's lock must not keep the others' backups.
		if err := deleteOf(ctx, s, driver, volume, volumes[volume]); err != nil {
			errs = append(errs, err)
		}
	}
	return worst(errs)
}

func deleteOf(ctx context.Context, s *store.Store, driver *store.Driver, volume string, names []string) error {
	there, err := list(ctx, s, volume)
	if err != nil {
		return err
	}
	_, err = readVolume(ctx, s, volume)
	if errors.Is(err, store.ErrMissing) || isDamaged(err) {
		return deleteBare(ctx, s, volume, names, there)
	}
	if err != nil {
		return err
	}
	var complete []string
	for _, name := range names {
		if !there[name] {
			continue
		}
		cfg, err := readBackup(ctx, s, volume, name)
		switch {
		case errors.Is(err, store.ErrMissing):
		case err == nil && inProgress(cfg):
			if err := s.Remove(ctx, backupConfig(volume, name)); err != nil {
				return err
			}
		case err == nil, isDamaged(err):
			complete = append(complete, name)
		default:
			return err
		}
	}
	if len(complete) == 0 {
		blocks, err := s.List(ctx, blockDir(volume))
		if err != nil || len(blocks) == 0 {
			return err
		}
		// backupstore frees unused blocks only while it deletes a backup,
		// and does not mind that it is gone already.
		complete = names[:1]
	}
	for _, name := range complete {
		if err := deleteOne(ctx, driver, volume, name); err != nil {
			return err
		}
	}
	return nil
}

// deleteBare removes configurations of a volume whose own one is missing or
// unreadable: backupstore would stop there, before it frees blocks.
func deleteBare(ctx context.Context, s *store.Store, volume string, names []string, there map[string]bool) error {
	for _, name := range names {
		if !there[name] {
			continue
		}
		slog.Warn("the volume has no readable configuration on the target; its blocks are left", "volume", volume, "backup", name)
		if err := s.Remove(ctx, backupConfig(volume, name)); err != nil {
			return err
		}
	}
	return nil
}

// deleteOne lets backupstore delete a backup, and takes away a lock that it leaves:
// when the time is over, or when writing it failed.
func deleteOne(ctx context.Context, driver *store.Driver, volume, backup string) error {
	u := url.URL{Scheme: driver.Kind(), Path: "/", RawQuery: url.Values{"volume": {volume}, "backup": {backup}}.Encode()}
	done := make(chan error, 1)
	defer driver.Unlock()
	go func() { done <- backupstore.DeleteDeltaBlockBackup(u.String()) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case <-done:
		case <-time.After(store.Unwind):
		}
		return fmt.Errorf("deleting backup %s of volume %s: %w", backup, volume, ctx.Err())
	}
	// backupstore swallows a failed listing; the driver does not.
	if failed := driver.Err(); failed != nil {
		return failed
	}
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "failed to acquire lock") {
		e := fault(protocol.Locked, "volume %s is locked on the target by a transfer that runs or has died; a dead one's lock ends %s after its last sign of life",
			volume, backupstore.LOCK_DURATION)
		e.Transient = true
		return e
	}
	return fmt.Errorf("deleting backup %s of volume %s: %w", backup, volume, err)
}

// list names the backups of a volume on the target.
func list(ctx context.Context, s *store.Store, volume string) (map[string]bool, error) {
	files, err := s.List(ctx, backupDir(volume))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, f := range files {
		name, ok := strings.CutPrefix(path.Base(f), backupstore.BACKUP_CONFIG_PREFIX)
		if name, isConfig := strings.CutSuffix(name, backupstore.CFG_SUFFIX); ok && isConfig {
			names[name] = true
		}
	}
	return names, nil
}

func check(b protocol.Backup) error {
	for _, n := range [][2]string{{"volume", b.Volume}, {"backup", b.Backup}} {
		if err := document.CheckEngineName(n[0], n[1]); err != nil {
			return fault(protocol.Invalid, "%v", err)
		}
	}
	return nil
}

// worst is the error to report of several: one that does not pass by itself,
// if there is one.
func worst(errs []error) error {
	for _, err := range errs {
		var e *protocol.Error
		if !errors.As(err, &e) || !e.Transient {
			return err
		}
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}
