package plan

import (
	"slices"
	"time"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

const (
	// readyLingers and failedLingers are how long after a point's end a replica may
	// still be at work on it: for a last write, or on a transfer that was given up
	// and cannot be stopped.
	readyLingers  = 30 * time.Second
	failedLingers = 24 * time.Hour
	// maxElsewhere is the schema's limit for a job.
	maxElsewhere = 32
)

// Elsewhere are the Longhorn backups, by their volumes, that replicas may still be
// at work on for targets other than a point's own. An engine does not tell which
// ones it makes, only how one is whose name is known. points are those of the same
// VM; since is when the point's target was made or last changed: what began before
// that went to another target, or to another place or with other credentials,
// whatever it is called, the point's own former attempts too.
func Elsewhere(b *v1alpha1.VMBackup, points []*v1alpha1.VMBackup, since, now time.Time) map[string][]string {
	out := map[string][]string{}
	for _, o := range points {
		if o.Spec.Found != nil || o.Spec.Type == v1alpha1.TypeSnapshot {
			continue
		}
		began := o.Status.StartedAt
		if o.Spec.Target == b.Spec.Target && (began == nil || !began.Time.Before(since)) {
			continue
		}
		lingers := failedLingers
		if o.Status.Phase == v1alpha1.BackupReady {
			lingers = readyLingers
		}
		if end := o.Status.CompletedAt; end != nil && now.Sub(end.Time) > lingers {
			continue
		}
		for _, d := range o.Status.Disks {
			// The last attempt, and the one before it, which may have been given up.
			for n := max(1, d.Attempt-1); n <= d.Attempt; n++ {
				out[d.Volume] = append(out[d.Volume], names.Backup(o.UID, d.Name, n))
			}
		}
	}
	for volume, list := range out {
		slices.Sort(list)
		out[volume] = list[:min(len(list), maxElsewhere)]
	}
	return out
}
