package plan

import (
	"fmt"
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

// interrupted looks through a disk's attempts; find returns an attempt's job.
func interrupted(attempts int32, find func(attempt int32) *v1alpha1.NodeJob) interruptions {
	var out interruptions
	inARow := true
	for n := attempts; n >= 1; n-- {
		job := find(n)
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

// next is the pause before the next attempt; over says that there is none, and
// bad then tells why.
func (in interruptions) next(now time.Time, c Config, attempt int32, bad *verdict) (pause time.Duration, over bool) {
	counted := attempt - in.all // failed attempts, this one included unless it was interrupted
	switch {
	case bad.retryable && bad.reason == v1alpha1.ReasonVolumeWanted:
		if in.idle > 0 && now.Sub(in.since) > c.WantedPatience {
			bad.message = fmt.Sprintf("for %s nothing of it could be moved: %s", c.WantedPatience, bad.message)
			return 0, true
		}
		return backoff(c.RetryAfter, c.RetryMax, 2, in.idle), false
	case !bad.retryable || counted >= c.Attempts:
		if counted > 1 {
			bad.message = fmt.Sprintf("%s (attempt %d of %d)", bad.message, counted, c.Attempts)
		}
		return 0, true
	}
	return backoff(c.RetryAfter, c.RetryMax, 4, int(counted)), false
}

func movedBytes(j *v1alpha1.NodeJob) bool {
	t := j.Status.Transfer
	return t != nil && t.Progress != nil && t.Progress.BytesDone > 0
}
