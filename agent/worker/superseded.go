package worker

import (
	"context"
	"fmt"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// markSuperseded marks the engine snapshots that a backup takes along as
// removed; their blocks stay where they are until the purge after the transfer.
// It comes before the transfer, for the lease was proved a moment ago. Whatever
// hinders it is no reason to fail a backup: the next one takes them along again.
func (r *run) markSuperseded(ctx context.Context, e Engine, job *v1alpha1.BackupJob) (marked bool, err error) {
	if len(job.Superseded) == 0 {
		return false, nil
	}
	snapshots, err := within(ctx, r.Limits.Call, e.Snapshots)
	if err != nil {
		return false, r.hindered(ctx, err)
	}
	base := nearestOurs(snapshots, job.Snapshot)
	for _, name := range job.Superseded {
		if _, ours := names.SnapshotPoint(name); !ours || name == job.Snapshot || name == base {
			return false, r.hindered(ctx, fmt.Errorf("snapshot %s is not one that no incremental needs", name))
		}
		if err := r.held.Check(ctx); err != nil {
			return false, fmt.Errorf("before removing snapshot %s: %w", name, err)
		}
		_, err := within(ctx, r.Limits.Call, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.RemoveSnapshot(ctx, name) })
		if err != nil {
			return false, r.hindered(ctx, err)
		}
	}
	return true, nil
}

// purgeSuperseded merges away what was marked. It waits only so long, since the
// point waits for it; a purge that has begun goes on without us.
func (r *run) purgeSuperseded(ctx context.Context, e Engine) (purged bool, err error) {
	_, err = within(ctx, r.Limits.Fold, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.Purge(ctx) })
	return err == nil, r.hindered(ctx, err)
}

// hindered passes on only what ends the run.
func (r *run) hindered(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || lost(err) {
		return err
	}
	r.Log.Info("superseded engine snapshots stay until the next backup", "job", r.job.Name, "error", err)
	return nil
}
