package plan

import (
	"time"

	"hayloft.dev/pkg/api/v1alpha1"
)

// interruptions are what a disk's VM did to its attempts by starting, stopping
// or moving. They say nothing about the disk or the target, so they do not use
// up the attempts that a point has.
type interruptions struct {
	all int32 // attempts that were interrupted
	// idle are the last attempts in a row that were, and moved nothing; since is
	// when the first of them ended.
	idle  int
	since time.Time
}

func (p *backupPlan) interruptions(d *v1alpha1.BackupDisk) interruptions {
	var out interruptions
	inARow := true
	for n := d.Attempt; n >= 1; n-- {
		job := find(p.v.Jobs, kindBackup, p.owner(), d.Name, n)
		if job == nil || job.Status.State != v1alpha1.JobFailed || job.Status.Reason != v1alpha1.ReasonVolumeWanted {
			inARow = false
			continue
		}
		out.all++
		if inARow = inARow && !movedBytes(job) && job.Status.CompletedAt != nil; inARow {
			out.idle++
			out.since = job.Status.CompletedAt.Time
		}
	}
	return out
}

func movedBytes(j *v1alpha1.NodeJob) bool {
	t := j.Status.Transfer
	return t != nil && t.Progress != nil && t.Progress.BytesDone > 0
}
