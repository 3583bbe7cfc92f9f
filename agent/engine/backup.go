package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
	"github.com/longhorn/types/pkg/generated/enginerpc"
)

// defaultThreads is Longhorn's own default of its settings
// backup-concurrent-limit and restore-concurrent-limit.
const defaultThreads = 2

// BackupRequest asks for one snapshot to be sent to a target.
type BackupRequest struct {
	Snapshot string
	// Backup is the new backup's name. It must never have been used for this
	// volume on this target: the engine empties a backup of the same name
	// before it starts.
	Backup string
	// TargetURL in Longhorn's form, such as "s3://bucket@region/".
	TargetURL string
	// Credential holds every variable that any target may set: the sync agent
	// keeps those of former requests that are not in this one.
	Credential map[string]string
	// Labels are stored with the backup; values must not be empty.
	Labels map[string]string
	// BackingImage and BackingImageChecksum of a volume that has one. The
	// backup then holds only the difference to the image.
	BackingImage, BackingImageChecksum string
	// Compression is "lz4", "gzip" or "none"; empty is lz4. A volume keeps
	// the one of its first backup on the target.
	Compression string
	// Threads that read and upload; 0 is 2.
	Threads int
}

// BackupStarted tells who makes the backup.
type BackupStarted struct {
	// Replica is the address ("ip:port") of the replica that does it.
	Replica string
	// Incremental: a base was found on the target and on the replica.
	Incremental bool
}

var compressions = []string{"lz4", "gzip", "none"}

// check refuses what the engine would accept and then fail or hang on.
func (r BackupRequest) check() (BackupRequest, error) {
	if r.Snapshot == "" || r.Snapshot == Head || r.Backup == "" || r.TargetURL == "" {
		return r, errors.New("snapshot, backup and target URL must be given")
	}
	if r.Compression == "" {
		r.Compression = compressions[0]
	}
	if !slices.Contains(compressions, r.Compression) {
		return r, fmt.Errorf("unknown compression %q: use one of %v", r.Compression, compressions)
	}
	if (r.BackingImage == "") != (r.BackingImageChecksum == "") {
		return r, errors.New("backing image and its checksum must be given together")
	}
	for k, v := range r.Labels {
		if v == "" {
			return r, fmt.Errorf("label %s has no value", k)
		}
	}
	r.Threads = threads(r.Threads)
	return r, nil
}

// threads is never less than one: without any, the engine's transfers wait
// forever or, with a single block to move, end empty and call that complete.
func threads(n int) int {
	if n < 1 {
		return defaultThreads
	}
	return n
}

// StartBackup starts a backup on the first replica in use and returns when
// the transfer runs; that takes at least two seconds, for backupstore's lock.
// ErrSnapshotMissing when that replica does not hold the snapshot or is
// removing it, ErrExists when any replica knows a backup of this name.
//
// The engine does not refuse a second backup of a volume; the caller does.
// After ErrUnavailable the backup may run: ask BackupStatus.
func (e *Engine) StartBackup(ctx context.Context, req BackupRequest) (BackupStarted, error) {
	started, err := e.startBackup(ctx, req)
	return started, e.failed(fmt.Sprintf("starting backup %s of snapshot %s", req.Backup, req.Snapshot), err)
}

func (e *Engine) startBackup(ctx context.Context, req BackupRequest) (BackupStarted, error) {
	req, err := req.check()
	if err != nil {
		return BackupStarted{}, err
	}
	known, err := e.backupStatus(ctx, req.Backup)
	if err != nil {
		return BackupStarted{}, err
	}
	if known != nil {
		return BackupStarted{}, fmt.Errorf("backup %w on replica %s (%s)", ErrExists, known.Replica, known.State)
	}
	replica, _, err := e.replicaWith(ctx, req.Snapshot)
	if err != nil {
		return BackupStarted{}, err
	}
	started, err := replicaCall(ctx, e, replica, func(c *replicaclient.ReplicaClient) (*enginerpc.BackupCreateResponse, error) {
		return c.CreateBackup(req.Backup, req.Snapshot, req.TargetURL, e.addr.Volume,
			req.BackingImage, req.BackingImageChecksum, req.Compression, req.Threads, "",
			labelList(req.Labels), req.Credential, nil)
	})
	if err != nil {
		return BackupStarted{}, fmt.Errorf("replica %s: %w", replica.Address, err)
	}
	return BackupStarted{Replica: replica.Address, Incremental: started.IsIncremental}, nil
}

// replicaWith is the first replica in use and its disk files, if it holds the
// snapshot.
func (e *Engine) replicaWith(ctx context.Context, snapshot string) (Replica, chain, error) {
	info, err := e.info(ctx)
	if err != nil {
		return Replica{}, chain{}, err
	}
	rw, err := info.inUse()
	if err != nil {
		return Replica{}, chain{}, err
	}
	chains, err := e.chains(ctx, rw[:1])
	if err != nil {
		return Replica{}, chain{}, err
	}
	if s, ok := chains[0].snapshots[snapshot]; !ok || s.Removed {
		return Replica{}, chain{}, fmt.Errorf("%w: %s on replica %s", ErrSnapshotMissing, snapshot, rw[0].Address)
	}
	return rw[0], chains[0], nil
}

// labelList is the "key=value" form of the engine's API, sorted.
func labelList(labels map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return out
}
