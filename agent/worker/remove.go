package worker

import (
	"context"
	"errors"
	"fmt"

	"hayloft.dev/agent/attach"
	"hayloft.dev/pkg/api/v1alpha1"
)

// removeSnapshots removes engine snapshots and merges their blocks away. What
// is gone already, snapshot or volume, is as good as removed.
func (r *run) removeSnapshots(ctx context.Context, job *v1alpha1.RemoveSnapshotsJob) error {
	e, _, err := r.engine(ctx, job.Volume, attach.FrontendAny)
	if errors.Is(err, attach.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range job.Snapshots {
		if err := r.held.Check(ctx); err != nil {
			return fmt.Errorf("before removing snapshot %s: %w", name, err)
		}
		_, err := within(ctx, r.Limits.Call, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.RemoveSnapshot(ctx, name) })
		if err != nil {
			return fmt.Errorf("removing snapshot %s: %w", name, err)
		}
	}
	_, err = within(ctx, r.Limits.Purge, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.Purge(ctx) })
	return err
}
