package backups

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/longhorn/backupstore"
	"golang.org/x/sync/errgroup"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/document"
)

// lookUps is how many blocks are looked for at once.
const lookUps = 16

// checksum is backupstore's name of a block: 64 digits of a sha512.
var checksum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Fresh says that a backup was just made: then its volume on the target must
// have the disk's own size. Later it may have been expanded.
type Fresh bool

// Inspect checks that a disk's backup is on the target, complete, of the right
// snapshot, size and backing image, of a volume of the namespace, and that its list
// of blocks makes sense. It does not look for the blocks: see Blocks.
func Inspect(ctx context.Context, s *store.Store, namespace string, disk document.Disk, fresh Fresh) (protocol.Inspection, error) {
	_, found, err := inspect(ctx, s, namespace, disk, fresh)
	return found, err
}

// Blocks does what Inspect does and looks for every block.
func Blocks(ctx context.Context, s *store.Store, namespace string, disk document.Disk) (protocol.Inspection, error) {
	backup, found, err := inspect(ctx, s, namespace, disk, false)
	if err != nil {
		return found, err
	}
	return found, lookForBlocks(ctx, s, disk, backup)
}

func inspect(ctx context.Context, s *store.Store, namespace string, disk document.Disk, fresh Fresh) (*backupstore.Backup, protocol.Inspection, error) {
	var found protocol.Inspection
	if err := disk.Check(); err != nil {
		return nil, found, fault(protocol.Invalid, "%v", err)
	}
	if disk.Backup == "" {
		return nil, found, fault(protocol.Invalid, "disk %s has no backup, so there is nothing of it on a target", disk.Name)
	}
	volume, err := readVolume(ctx, s, disk.Volume)
	if errors.Is(err, store.ErrMissing) {
		return nil, found, fault(protocol.NotFound, "disk %s: the target has no backups of volume %s", disk.Name, disk.Volume)
	}
	if err != nil {
		return nil, found, of(disk, err)
	}
	backup, err := readBackup(ctx, s, disk.Volume, disk.Backup)
	if errors.Is(err, store.ErrMissing) {
		return nil, found, fault(protocol.NotFound, "disk %s: backup %s of volume %s is not on the target", disk.Name, disk.Backup, disk.Volume)
	}
	if err != nil {
		return nil, found, of(disk, err)
	}
	if err := checkOwner(namespace, backup); err != nil {
		return nil, found, of(disk, err)
	}
	if err := compare(disk, volume, backup, fresh); err != nil {
		return nil, found, of(disk, err)
	}
	return backup, protocol.Inspection{
		Name:            disk.Name,
		SizeBytes:       backup.Size,
		VolumeSizeBytes: volume.Size,
		UploadedBytes:   backup.NewlyUploadedDataSize + backup.ReUploadedDataSize,
		Incremental:     backup.IsIncremental,
	}, nil
}

// compare is the pure part of Inspect.
func compare(disk document.Disk, volume *backupstore.Volume, backup *backupstore.Backup, fresh Fresh) error {
	if inProgress(backup) {
		e := fault(protocol.InProgress, "backup %s is not complete on the target", disk.Backup)
		e.Transient = true
		return e
	}
	if backup.SnapshotName != disk.Snapshot {
		return fault(protocol.Mismatch, "backup %s is of snapshot %q, not of %s", disk.Backup, backup.SnapshotName, disk.Snapshot)
	}
	if volume.Size < disk.SizeBytes || bool(fresh) && volume.Size != disk.SizeBytes {
		return fault(protocol.Mismatch, "volume %s has %d bytes on the target, the disk has %d", disk.Volume, volume.Size, disk.SizeBytes)
	}
	var image, sum string
	if disk.BackingImage != nil {
		image, sum = disk.BackingImage.Name, disk.BackingImage.Checksum
	}
	if volume.BackingImageName != image || volume.BackingImageChecksum != sum {
		return fault(protocol.Mismatch, "volume %s is based on backing image %q (checksum %.12q) on the target, the disk on %q (%.12q)",
			disk.Volume, volume.BackingImageName, volume.BackingImageChecksum, image, sum)
	}
	return checkBlocks(disk, backup)
}

// checkBlocks checks a backup's list of blocks against itself and the disk.
func checkBlocks(disk document.Disk, backup *backupstore.Backup) error {
	if want := int64(len(backup.Blocks)) * blockSize; backup.Size != want {
		return damaged("backup %s says that it has %d bytes, but lists %d", disk.Backup, backup.Size, want)
	}
	next := int64(0)
	for _, b := range backup.Blocks {
		if b.Offset < next || b.Offset%blockSize != 0 || b.Offset+blockSize > disk.SizeBytes || !checksum.MatchString(b.BlockChecksum) {
			return damaged("backup %s lists a block at byte %d that cannot be (disk of %d bytes)", disk.Backup, b.Offset, disk.SizeBytes)
		}
		next = b.Offset + blockSize
	}
	return nil
}

func lookForBlocks(ctx context.Context, s *store.Store, disk document.Disk, backup *backupstore.Backup) error {
	unique := map[string]bool{}
	var mu sync.Mutex
	var first string
	missing := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookUps)
	for _, b := range backup.Blocks {
		if unique[b.BlockChecksum] {
			continue
		}
		unique[b.BlockChecksum] = true
		group.Go(func() error {
			size, err := s.Size(ctx, blockFile(disk.Volume, b.BlockChecksum))
			if err != nil && !errors.Is(err, store.ErrMissing) {
				return err
			}
			if err != nil || size == 0 {
				mu.Lock()
				defer mu.Unlock()
				missing++
				first = b.BlockChecksum
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return of(disk, err)
	}
	if missing > 0 {
		return damaged("disk %s: %d of %d blocks of backup %s are missing or empty on the target, among them %s",
			disk.Name, missing, len(unique), disk.Backup, first)
	}
	return nil
}

// of puts a disk's name before an error, keeping its reason.
func of(disk document.Disk, err error) error {
	var e *protocol.Error
	if errors.As(err, &e) {
		c := *e
		c.Message = fmt.Sprintf("disk %s: %s", disk.Name, e.Message)
		return &c
	}
	return fmt.Errorf("disk %s: %w", disk.Name, err)
}
