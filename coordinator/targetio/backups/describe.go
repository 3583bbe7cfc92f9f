package backups

import (
	"context"
	"errors"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// Describe fills in what a backup and its volume on the target tell of a disk of
// which only their names are known: snapshot, size and backing image.
func Describe(ctx context.Context, s *store.Store, disk *document.Disk) error {
	volume, err := readVolume(ctx, s, disk.Volume)
	if errors.Is(err, store.ErrMissing) {
		return fault(protocol.NotFound, "disk %s: the target has no backups of volume %s", disk.Name, disk.Volume)
	}
	if err != nil {
		return of(*disk, err)
	}
	backup, err := readBackup(ctx, s, disk.Volume, disk.Backup)
	if errors.Is(err, store.ErrMissing) {
		return fault(protocol.NotFound, "disk %s: backup %s of volume %s is not on the target", disk.Name, disk.Backup, disk.Volume)
	}
	if err != nil {
		return of(*disk, err)
	}
	disk.Snapshot, disk.SizeBytes, disk.BackingImage = backup.SnapshotName, volume.Size, nil
	if volume.BackingImageName != "" {
		disk.BackingImage = &v1alpha1.BackingImage{Name: volume.BackingImageName, Checksum: volume.BackingImageChecksum}
	}
	if err := disk.Check(); err != nil {
		return fault(protocol.Damaged, "%v", err)
	}
	return nil
}
