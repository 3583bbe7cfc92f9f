package metrics

import (
	"context"
	"time"

	"hayloft.dev/pkg/api/v1alpha1"
)

var (
	jobs = define(Metric{
		Name: "hayloft_jobs", Kind: Gauge, By: Leader, Labels: []string{"type", "state"},
		Help: "NodeJobs by type and state. Pending: not claimed by an agent.",
	})
	queueJobs = define(Metric{
		Name: "hayloft_queue_jobs", Kind: Gauge, By: Leader,
		Help: "NodeJobs that are not assigned to a node yet: a limit or another job on their volume keeps them waiting.",
	})
	queueOldest = define(Metric{
		Name: "hayloft_queue_oldest_wait_seconds", Kind: Gauge, By: Leader,
		Help: "How long the oldest NodeJob that is not assigned has been waiting; 0 if none is.",
	})
	nodeJobs = define(Metric{
		Name: "hayloft_node_jobs", Kind: Gauge, By: Leader, Labels: []string{"node"},
		Help: "Unfinished NodeJobs that are assigned to the node.",
	})
	nodeJobsLimit = define(Metric{
		Name: "hayloft_node_jobs_limit", Kind: Gauge, By: Leader,
		Help: "The most NodeJobs that one node is given at once.",
	})
	targetJobs = define(Metric{
		Name: "hayloft_target_jobs", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "Unfinished, assigned NodeJobs that move data to or from the target.",
	})
)

// jobCollector tells of the queue and of what is in flight.
type jobCollector struct {
	objects Objects
	limits  Limits
	now     func() time.Time
}

type jobKey struct{ kind, state string }

func (k jobKey) String() string { return k.kind + "/" + k.state }

func (c *jobCollector) Collect(ctx context.Context, s *Samples) error {
	list, err := c.objects.Jobs(ctx)
	if err != nil {
		return err
	}
	states, nodes, targets := map[jobKey]int{}, map[string]int{}, map[string]int{}
	for _, kind := range jobTypes {
		states[jobKey{kind, "Pending"}], states[jobKey{kind, string(v1alpha1.JobRunning)}] = 0, 0
	}
	queued, oldest := 0, time.Duration(0)
	now := c.now()
	for _, j := range list {
		state := string(j.Status.State)
		if j.Status.State == v1alpha1.JobPending {
			state = "Pending"
		}
		states[jobKey{JobType(j), state}]++
		switch {
		case j.Status.State == v1alpha1.JobSucceeded, j.Status.State == v1alpha1.JobFailed:
		case j.Spec.NodeName == "":
			queued++
			oldest = max(oldest, now.Sub(j.CreationTimestamp.Time))
		default:
			nodes[j.Spec.NodeName]++
			if t := jobTarget(j); t != "" {
				targets[t]++
			}
		}
	}
	for _, k := range sortedBy(states, jobKey.String) {
		s.set(jobs, float64(states[k]), by("state", k.state, "type", k.kind))
	}
	s.set(queueJobs, float64(queued), nil)
	s.set(queueOldest, oldest.Seconds(), nil)
	for _, n := range sortedKeys(nodes) {
		s.set(nodeJobs, float64(nodes[n]), by("node", n))
	}
	s.set(nodeJobsLimit, float64(c.limits.JobsPerNode()), nil)
	for _, t := range sortedKeys(targets) {
		s.set(targetJobs, float64(targets[t]), by("target", t))
	}
	return nil
}

// JobType names the work of a job as its spec does: the label type.
func JobType(j *v1alpha1.NodeJob) string {
	switch {
	case j.Spec.Cut != nil:
		return "cut"
	case j.Spec.Backup != nil:
		return "backup"
	case j.Spec.Restore != nil:
		return "restore"
	case j.Spec.Clone != nil:
		return "clone"
	}
	return "removeSnapshots"
}

func jobTarget(j *v1alpha1.NodeJob) string {
	switch {
	case j.Spec.Backup != nil:
		return j.Spec.Backup.Target
	case j.Spec.Restore != nil:
		return j.Spec.Restore.Target
	}
	return ""
}
