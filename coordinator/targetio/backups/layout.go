// Package backups knows Longhorn's backups on a target: where they lie, whether
// one is whole, and how one is removed. It uses backupstore's types and its
// deletion, so that the blocks which backups share are freed by Longhorn's own
// rules, and reads the configurations itself, because backupstore cannot tell a
// missing one from one that could not be read.
//
// It makes no backups and moves no data: engines do.
package backups

import (
	"path"

	"github.com/longhorn/backupstore"
	"github.com/longhorn/backupstore/util"
)

// blockSize is Longhorn's unit of a backup, 2 MiB.
const blockSize = backupstore.DEFAULT_BLOCK_SIZE

// volumeDir is the directory of a volume, spread over two levels by the
// checksum of its name.
func volumeDir(volume string) string {
	sum := util.GetChecksum([]byte(volume))
	return path.Join(backupstore.GetBackupstoreBase(), backupstore.VOLUME_DIRECTORY, sum[:2], sum[2:4], volume)
}

func volumeConfig(volume string) string {
	return path.Join(volumeDir(volume), backupstore.VOLUME_CONFIG_FILE)
}

func backupDir(volume string) string {
	return path.Join(volumeDir(volume), backupstore.BACKUP_DIRECTORY)
}

func backupFile(backup string) string {
	return backupstore.BACKUP_CONFIG_PREFIX + backup + backupstore.CFG_SUFFIX
}

func backupConfig(volume, backup string) string {
	return path.Join(backupDir(volume), backupFile(backup))
}

func blockDir(volume string) string {
	return path.Join(volumeDir(volume), backupstore.BLOCKS_DIRECTORY)
}

// blockFile wants a checksum of at least four digits.
func blockFile(volume, checksum string) string {
	return path.Join(blockDir(volume), checksum[:2], checksum[2:4], checksum+backupstore.BLK_SUFFIX)
}
