package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// lockRetry is how long to wait before asking again for a backup volume that
// another process has locked on the target.
const lockRetry = 5 * time.Second

// backup moves one snapshot to the target, or goes on watching a transfer that
// a former owner started. The engine's word that it is complete ends the job;
// whether the backup is there, the coordinator's target worker finds out.
func (r *run) backup(ctx context.Context, job *v1alpha1.BackupJob) error {
	e, loc, err := r.engine(ctx, job.Volume, attach.FrontendAny)
	if err != nil {
		return err
	}
	transfer := v1alpha1.TransferStatus{Started: true}
	marked := false
	if r.resumed {
		status, err := within(ctx, r.Limits.Call, func(ctx context.Context) (*engine.BackupStatus, error) { return e.BackupStatus(ctx, job.Backup) })
		if err != nil {
			return fmt.Errorf("looking for backup %s on the replicas: %w", job.Backup, err)
		}
		if status == nil {
			return failed(v1alpha1.ReasonTransferLost, true, "an earlier owner started backup %s and no replica knows of it any more", job.Backup)
		}
		transfer.Replica = status.Replica
		if old := r.job.Status.Transfer; old != nil {
			transfer.Incremental = old.Incremental
		}
		if marked, err = r.markSuperseded(ctx, e, job); err != nil {
			return err
		}
	} else {
		started, ready, err := r.startBackup(ctx, e, job)
		if err != nil {
			return err
		}
		marked = ready
		transfer.Replica, transfer.Incremental = started.Replica, started.Incremental
	}
	total, err := r.bytesToMove(ctx, e, job.Snapshot, transfer.Incremental)
	if err != nil {
		return err
	}
	if e, err = r.watchBackup(ctx, e, loc, job, &transfer, total); err != nil {
		return err
	}
	if marked {
		if transfer.SupersededRemoved, err = r.purgeSuperseded(ctx, e); err != nil {
			return err
		}
	}
	r.result = func(s *v1alpha1.NodeJobStatus) { s.Transfer = &transfer }
	return nil
}

// startBackup asks the engine to start, waiting while another process holds
// the lock of the backup volume. marked tells whether the superseded snapshots
// can be purged afterwards.
func (r *run) startBackup(ctx context.Context, e Engine, job *v1alpha1.BackupJob) (started engine.BackupStarted, marked bool, err error) {
	snapshots, err := within(ctx, r.Limits.Call, e.Snapshots)
	if err != nil {
		return engine.BackupStarted{}, false, err
	}
	if s, ok := snapshots[job.Snapshot]; !ok || s.Removed {
		return engine.BackupStarted{}, false, failed(v1alpha1.ReasonSnapshotMissing, false, "engine snapshot %s of volume %s is gone: somebody removed it", job.Snapshot, job.Volume)
	}
	t, err := r.Targets.Resolve(ctx, job.Target, r.job.CreationTimestamp.Time)
	if err != nil {
		return engine.BackupStarted{}, false, err
	}
	request := engine.BackupRequest{
		Snapshot: job.Snapshot, Backup: job.Backup, TargetURL: t.URL, Credential: t.Credential,
		Labels: job.Labels, Compression: t.Compression, Threads: int(t.Threads),
	}
	if job.BackingImage != nil {
		request.BackingImage, request.BackingImageChecksum = job.BackingImage.Name, job.BackingImage.Checksum
	}
	if marked, err = r.markSuperseded(ctx, e, job); err != nil {
		return engine.BackupStarted{}, false, err
	}
	if err := r.awaitElsewhere(ctx, e, job); err != nil {
		return engine.BackupStarted{}, false, err
	}
	until := time.Now().Add(r.Limits.Lock)
	for {
		if err := r.held.Check(ctx); err != nil {
			return engine.BackupStarted{}, false, fmt.Errorf("before starting the backup: %w", err)
		}
		started, err := within(ctx, r.Limits.Start, func(ctx context.Context) (engine.BackupStarted, error) { return e.StartBackup(ctx, request) })
		switch {
		case err == nil:
			return started, marked, nil
		case ctx.Err() != nil || lost(err):
			return engine.BackupStarted{}, false, err
		case !lockedByOther(err):
			r.Targets.Forget(job.Target)
			if errors.Is(err, engine.ErrNoReplica) {
				return engine.BackupStarted{}, false, failed(v1alpha1.ReasonEngineUnavailable, true, "starting backup %s: %w", job.Backup, err)
			}
			return engine.BackupStarted{}, false, targetFailed("starting backup "+job.Backup, job.Target, err.Error())
		case time.Now().After(until):
			return engine.BackupStarted{}, false, failed(v1alpha1.ReasonTargetError, true, "backup volume %s stayed locked on the target for %s: %w", job.Volume, r.Limits.Lock, err)
		}
		if err := r.report.message(ctx, "waiting: another process holds the lock of this volume on the target (a dead one's lock stands for 150 s)"); err != nil {
			return engine.BackupStarted{}, false, err
		}
		if err := pause(ctx, lockRetry); err != nil {
			return engine.BackupStarted{}, false, err
		}
	}
}

// bytesToMove estimates what the engine will read, for progress in bytes: from
// the nearest earlier snapshot of ours on, if the engine found a base.
func (r *run) bytesToMove(ctx context.Context, e Engine, snapshot string, incremental bool) (int64, error) {
	base := ""
	if incremental {
		snapshots, err := within(ctx, r.Limits.Call, e.Snapshots)
		if err != nil {
			return 0, err
		}
		base = nearestOurs(snapshots, snapshot)
	}
	return within(ctx, r.Limits.Call, func(ctx context.Context) (int64, error) { return e.DeltaBytes(ctx, snapshot, base) })
}

func nearestOurs(snapshots map[string]engine.Snapshot, from string) string {
	for name := snapshots[from].Parent; name != ""; name = snapshots[name].Parent {
		s, known := snapshots[name]
		if !known {
			return ""
		}
		if _, ours := names.SnapshotPoint(name); ours && !s.Removed {
			return name
		}
	}
	return ""
}

// watchBackup follows a transfer to its end, also where the engine is moved and
// its replicas still know of the backup. It returns the engine that said so.
func (r *run) watchBackup(ctx context.Context, e Engine, loc attach.Location, job *v1alpha1.BackupJob, transfer *v1alpha1.TransferStatus, total int64) (Engine, error) {
	watch := newTransferWatch(r.Limits.Stall, r.Limits.Lost)
	site, moved := site{volume: job.Volume, at: loc}, ""
	for {
		status, err := within(ctx, r.Limits.Call, func(ctx context.Context) (*engine.BackupStatus, error) { return e.BackupStatus(ctx, job.Backup) })
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			if time.Since(site.looked) >= lookAgain && r.left(ctx) != "" {
				return nil, err // the transfer ended with its engine
			}
			if r.moved(ctx, &site) {
				e, moved = r.open(site.at), fmt.Sprintf("; the engine of volume %s was restarted at %s", job.Volume, site.at.Address)
				r.found(site.at)
			}
			if gone := watch.unreachable(time.Now()); gone {
				return nil, failed(v1alpha1.ReasonTransferLost, true, "the engine did not answer for %s during backup %s%s: %w", r.Limits.Lost, job.Backup, moved, err)
			}
		case status == nil:
			return nil, failed(v1alpha1.ReasonTransferLost, true, "the replica that moved backup %s does not know of it any more: its process was restarted%s", job.Backup, moved)
		case status.Error != "" || status.State == engine.StateError:
			return nil, failedMidway("backup "+job.Backup, job.Target, orState(status.Error, status.State))
		case status.State == engine.StateComplete || status.Progress >= 100:
			transfer.Progress = &v1alpha1.Progress{BytesDone: total, BytesTotal: total}
			r.count(total)
			return e, nil
		default:
			if watch.stalled(time.Now(), int64(status.Progress)) {
				return nil, failed(v1alpha1.ReasonStalled, true, "backup %s made no progress for %s (it stands at %d %%): is the target slow or hanging?", job.Backup, r.Limits.Stall, status.Progress)
			}
			transfer.Progress = &v1alpha1.Progress{BytesDone: total * int64(min(status.Progress, 99)) / 100, BytesTotal: total}
			if err := r.progress(ctx, *transfer); err != nil {
				return nil, err
			}
		}
		if err := pause(ctx, watch.interval(r.Limits.Poll)); err != nil {
			return nil, err
		}
	}
}

func orState(text, state string) string {
	if text == "" {
		return "the engine reports state " + state + " without a cause"
	}
	return text
}
