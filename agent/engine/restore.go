package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
	diskutil "github.com/longhorn/longhorn-engine/pkg/util/disk"

	"hayloft.dev/pkg/words"
)

// emptyHeadBytes bounds what the file of a head that was never written to may
// take: one sector of a volume is 4096 bytes, and some filesystems charge a
// smaller amount for an empty file.
const emptyHeadBytes = diskutil.VolumeSectorSize

// RestoreRequest asks for a fresh volume to be filled from a backup.
type RestoreRequest struct {
	// BackupURL in Longhorn's form, such as
	// "s3://bucket@region/?backup=NAME&volume=VOLUME".
	BackupURL string
	// File is the snapshot file to make, "volume-snap-NAME.img", the same on
	// every replica.
	File string
	// Credential as for a backup.
	Credential map[string]string
	// Threads that download, on each replica; 0 is 2.
	Threads int
}

func (r RestoreRequest) check() error {
	if r.BackupURL == "" {
		return errors.New("no backup URL given")
	}
	if name, err := snapshotName(r.File); err != nil || name == "" || strings.Contains(r.File, "/") {
		return fmt.Errorf("%q is not the name of a snapshot file", r.File)
	}
	return nil
}

// StartRestore makes every replica restore the backup, each by itself, and
// returns when all transfers run; that takes at least two seconds, for
// backupstore's lock. It refuses with ErrFrontendUp, and with ErrNotFresh
// unless every replica is in use, not being rebuilt or purged, holds nothing
// but one empty head and was never restored or cloned into.
//
// It does not compare the volume's size with the backup's, nor does the
// engine: the caller does, before. An error after the checks names each
// replica that refused; others may have started, so the volume is spent.
func (e *Engine) StartRestore(ctx context.Context, req RestoreRequest) error {
	return e.failed("starting the restore", e.startRestore(ctx, req))
}

func (e *Engine) startRestore(ctx context.Context, req RestoreRequest) error {
	if err := req.check(); err != nil {
		return err
	}
	replicas, err := e.freshReplicas(ctx)
	if err != nil {
		return err
	}
	return joined(ask(replicas, func(r Replica) (struct{}, error) {
		return replicaCall(ctx, e, r, func(c *replicaclient.ReplicaClient) (struct{}, error) {
			return struct{}{}, c.RestoreBackup(req.BackupURL, req.File, req.Credential, threads(req.Threads))
		})
	}))
}

// freshReplicas are the replicas of a volume that may be restored or cloned
// into.
func (e *Engine) freshReplicas(ctx context.Context) ([]Replica, error) {
	info, err := e.info(ctx)
	if err != nil {
		return nil, err
	}
	if info.FrontendUp {
		return nil, ErrFrontendUp
	}
	if len(info.Replicas) == 0 {
		return nil, ErrNoReplica
	}
	for _, r := range info.Replicas {
		if r.Mode != ModeRW {
			return nil, fmt.Errorf("%w: replica %s is in mode %s", ErrNotFresh, r.Address, r.Mode)
		}
	}
	views := e.views(ctx, info.Replicas)
	if err := joined(views); err != nil {
		return nil, err
	}
	for _, v := range views {
		if err := emptyReplica(v); err != nil {
			return nil, err
		}
	}
	return info.Replicas, joined(ask(info.Replicas, func(r Replica) (struct{}, error) {
		return struct{}{}, e.idleReplica(ctx, r)
	}))
}

// emptyReplica is nil for a replica that holds one empty head and no more.
func emptyReplica(v view) error {
	if v.value.Rebuilding {
		return fmt.Errorf("%w: %w: replica %s", ErrNotFresh, ErrRebuilding, v.replica.Address)
	}
	c, err := parseChain(v.replica.Address, v.value)
	if err != nil {
		return err
	}
	switch {
	case len(c.snapshots) > 0:
		return fmt.Errorf("%w: replica %s holds %s", ErrNotFresh, v.replica.Address, words.Count(len(c.snapshots), "snapshot"))
	case c.heads != 1:
		return fmt.Errorf("%w: replica %s has %s", ErrNotFresh, v.replica.Address, words.Count(c.heads, "head"))
	case c.headBytes >= emptyHeadBytes:
		return fmt.Errorf("%w: replica %s was written to, its head takes %d bytes", ErrNotFresh, v.replica.Address, c.headBytes)
	}
	return nil
}

// idleReplica is nil for a replica whose sync agent neither purges nor has
// ever restored or cloned anything.
func (e *Engine) idleReplica(ctx context.Context, r Replica) error {
	p, err := e.purgeStatus(ctx, r)
	if err != nil {
		return err
	}
	if p.IsPurging {
		return fmt.Errorf("%w: snapshots are being purged", ErrNotFresh)
	}
	s, err := e.restoreStatusOn(ctx, r)
	if err != nil {
		return err
	}
	if s.IsRestoring || s.State != "" || s.LastRestored != "" {
		return fmt.Errorf("%w: it has a restore already (%s %s%s)", ErrNotFresh, s.State, s.CurrentRestoringBackup, s.LastRestored)
	}
	c, err := e.cloneStatusOn(ctx, r)
	if err != nil {
		return err
	}
	if c.IsCloning || c.State != "" {
		return fmt.Errorf("%w: it has a clone already (%s %s)", ErrNotFresh, c.State, c.SnapshotName)
	}
	return nil
}
