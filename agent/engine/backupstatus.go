package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
	"github.com/longhorn/types/pkg/generated/enginerpc"
	"google.golang.org/grpc/status"
)

// States of a backup or restore, as the sync agents name them.
const (
	StateInProgress = "in_progress"
	StateComplete   = "complete"
	StateError      = "error"
)

// BackupStatus is what the sync agent that makes a backup says of it. It is
// not proof of a backup: the agent derives StateComplete from a percentage
// that some sizes reach before the backup is written to the target, and then
// ignores every later error and the URL. Only the target tells.
type BackupStatus struct {
	// Replica is the address ("ip:port") of the replica that makes it.
	Replica string
	// State is one of the State constants.
	State string
	// Progress in percent, 0 to 100. Small backups pass 100 in the engine's
	// count; it is cut off here.
	Progress int
	// URL of the finished backup; may stay empty for good.
	URL      string
	Error    string
	Snapshot string
}

// BackupStatus asks every replica for a backup; nil when none knows it. A
// sync agent forgets what it made when it ends, and all but its last 5
// complete and 10 failed backups.
//
// A replica that does not answer is an error (ErrUnavailable), unless another
// one knows the backup or the engine has given that replica up: Longhorn will
// not use it again, and a transfer that might still run there ends under a
// name that is used only once.
func (e *Engine) BackupStatus(ctx context.Context, backup string) (*BackupStatus, error) {
	s, err := e.backupStatus(ctx, backup)
	return s, e.failed("asking for backup "+backup, err)
}

func (e *Engine) backupStatus(ctx context.Context, backup string) (*BackupStatus, error) {
	if backup == "" {
		return nil, errors.New("no name given")
	}
	info, err := e.info(ctx)
	if err != nil {
		return nil, err
	}
	if len(info.Replicas) == 0 {
		return nil, ErrNoReplica
	}
	return chooseBackup(ask(info.Replicas, func(r Replica) (*BackupStatus, error) {
		return e.backupStatusOn(ctx, r, backup)
	}))
}

// chooseBackup picks the one replica's word that counts.
func chooseBackup(answers []answer[*BackupStatus]) (*BackupStatus, error) {
	var known *BackupStatus
	var unsure []answer[*BackupStatus]
	for _, a := range answers {
		switch {
		case a.err != nil:
			if a.replica.Mode != ModeERR || !errors.Is(a.err, ErrUnavailable) {
				unsure = append(unsure, a)
			}
		case a.value != nil && (known == nil || known.State == StateError):
			known = a.value
		}
	}
	if known != nil {
		return known, nil
	}
	return nil, joined(unsure)
}

// backupStatusOn asks one replica; nil when it does not know the backup.
func (e *Engine) backupStatusOn(ctx context.Context, r Replica, backup string) (*BackupStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	s, err := replicaCall(ctx, e, r, func(c *replicaclient.ReplicaClient) (*enginerpc.BackupStatusResponse, error) {
		s, err := c.BackupStatus(backup)
		if unknownBackup(err, backup) {
			return nil, nil
		}
		return s, err
	})
	if err != nil || s == nil {
		return nil, err
	}
	return &BackupStatus{
		Replica:  r.Address,
		State:    s.State,
		Progress: min(max(int(s.Progress), 0), 100),
		URL:      s.BackupUrl,
		Error:    s.Error,
		Snapshot: s.SnapshotName,
	}, nil
}

// unknownBackup tells a sync agent's "I do not know this backup" from every
// other error. It has no gRPC code of its own, only these words.
func unknownBackup(err error, backup string) bool {
	if err == nil {
		return false
	}
	return strings.HasPrefix(status.Convert(err).Message(), fmt.Sprintf("backup not found %s", backup))
}
