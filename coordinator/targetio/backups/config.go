package backups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/longhorn/backupstore"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
)

const (
	// maxVolumeConfig is far above the few hundred bytes of a volume.cfg.
	maxVolumeConfig = 1 << 20
	// maxBackupConfig is enough for the block list of 9 TiB of data, at about
	// 107 bytes a block.
	maxBackupConfig = 512 << 20
)

// readVolume reads a volume's configuration; store.ErrMissing when there is
// none.
func readVolume(ctx context.Context, s *store.Store, volume string) (*backupstore.Volume, error) {
	v := &backupstore.Volume{}
	if err := readConfig(ctx, s, volumeConfig(volume), maxVolumeConfig, v); err != nil {
		return nil, err
	}
	if v.Name != volume {
		return nil, damaged("the configuration of volume %s on the target names volume %q", volume, v.Name)
	}
	return v, nil
}

// readBackup reads a backup's configuration; store.ErrMissing when there is
// none.
func readBackup(ctx context.Context, s *store.Store, volume, backup string) (*backupstore.Backup, error) {
	b := &backupstore.Backup{}
	if err := readConfig(ctx, s, backupConfig(volume, backup), maxBackupConfig, b); err != nil {
		return nil, err
	}
	if b.Name != backup || b.VolumeName != volume {
		return nil, damaged("the configuration of backup %s of volume %s on the target names backup %q of volume %q", backup, volume, b.Name, b.VolumeName)
	}
	return b, nil
}

// inProgress tells a backup whose transfer has not ended well: backupstore
// writes the time only at the end.
func inProgress(b *backupstore.Backup) bool { return b.CreatedTime == "" }

func readConfig(ctx context.Context, s *store.Store, path string, limit int64, into any) error {
	data, err := s.Read(ctx, path, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return damaged("%s on the target cannot be read as JSON: %v", path, err)
	}
	return nil
}

func damaged(format string, args ...any) error { return fault(protocol.Damaged, format, args...) }

func fault(reason protocol.Reason, format string, args ...any) *protocol.Error {
	return &protocol.Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func isDamaged(err error) bool {
	var e *protocol.Error
	return errors.As(err, &e) && e.Reason == protocol.Damaged
}
