package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// awaitRefresh shows what becomes of a refresh that was asked for at a moment, until
// it has ended.
func (a *app) awaitRefresh(ctx context.Context, cluster *kube.Cluster, t *v1alpha1.BackupTarget, asked time.Time, timeout time.Duration) error {
	last, err := a.awaitTarget(ctx, cluster, t, timeout, func(t *v1alpha1.BackupTarget) (bool, string) { return refreshed(t.Status.Refresh, asked) })
	switch {
	case errors.Is(err, errTimeout):
		_, waits := refreshed(last.Status.Refresh, asked)
		return fmt.Errorf("target %s was not looked through after %s; it will be (%s), see: hayloft describe target %s: %w", t.Name, timeout, waits, t.Name, err)
	case err != nil:
		return err
	}
	r := last.Status.Refresh
	if r.Failures > 0 {
		a.complain(fmt.Sprintf("target %s could not be looked through: %s", t.Name, r.Message))
		return errFailed
	}
	found := "no documents"
	if d := r.Documents; d != nil && d.Total > 0 {
		found = fmt.Sprintf("%s, %s here; %d new, %d changed, %d gone",
			words.Count(int(d.Total), "document"), words.Count(int(d.Points), "point"), d.New, d.Changed, d.Gone)
	}
	_, err = fmt.Fprintf(a.Out, "target %s was looked through: %s\n", t.Name, found)
	return err
}

// refreshed tells whether a refresh that was asked for at a moment, or later, has
// ended; waits says what is waited for else.
func refreshed(r *v1alpha1.TargetRefreshStatus, asked time.Time) (done bool, waits string) {
	switch {
	case r == nil:
		return false, "no coordinator has looked at it yet"
	case !takenUp(r.Requested, asked):
		if r.NextTime != nil {
			return false, "it begins at " + r.NextTime.Format(time.TimeOnly)
		}
		return false, "it was not taken up yet"
	case r.StartedTime == nil || r.LastTime == nil || r.LastTime.Before(r.StartedTime):
		return false, "it is being looked through"
	}
	return true, ""
}

// takenUp: the last request that was taken up is the one of that moment, or one that
// somebody made since, which took its place.
func takenUp(requested string, asked time.Time) bool {
	at, err := time.Parse(time.RFC3339Nano, requested)
	return err == nil && !at.Before(asked)
}
