package worker

import (
	"context"
	"fmt"
	"time"

	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
)

// settle is what the last write of a backup may take that the engine has called
// complete too early: such a one never gets a URL that would tell.
const settle = 5 * time.Second

// awaitElsewhere returns when no replica is at work on the volume for another
// target, or for this one before it was changed. A replica keeps target and key in its process's environment and looks
// there for each request, so a transfer under way would take up those of this job.
func (r *run) awaitElsewhere(ctx context.Context, e Engine, job *v1alpha1.BackupJob) error {
	began := time.Now()
	for _, name := range job.Elsewhere {
		for {
			status, err := within(ctx, r.Limits.Call, func(ctx context.Context) (*engine.BackupStatus, error) { return e.BackupStatus(ctx, name) })
			if err != nil {
				return fmt.Errorf("looking for backup %s, of before, on the replicas: %w", name, err)
			}
			if ended(status, time.Since(began)) {
				break
			}
			if time.Since(began) > r.Limits.Lock {
				return failed(v1alpha1.ReasonTargetError, true, "backup %s of this volume, to another target or to this one before it was changed, still runs in its replica, which would go on with this target's credentials: waited %s for its end", name, r.Limits.Lock)
			}
			if err := r.report.message(ctx, "waiting: a replica is still at work on this volume for another target, or for this one before it was changed"); err != nil {
				return err
			}
			if err := pause(ctx, r.Limits.Poll); err != nil {
				return err
			}
		}
	}
	return nil
}

// ended tells whether a replica has done its last write for a backup; waited is
// for how long that was asked.
func ended(s *engine.BackupStatus, waited time.Duration) bool {
	switch {
	case s == nil, s.Error != "", s.State == engine.StateError:
		return true
	case s.State == engine.StateComplete:
		return s.URL != "" || waited >= settle
	}
	return false
}
