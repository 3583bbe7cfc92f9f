package metrics

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"

	"hayloft.dev/pkg/api/v1alpha1"
)

var (
	targetReady = define(Metric{
		Name: "hayloft_target_ready", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "1 if the last probe of the target was good, else 0.",
	})
	targetStatus = define(Metric{
		Name: "hayloft_target_status_info", Kind: Gauge, By: Leader, Labels: []string{"target", "reason"},
		Help: "1 for each target, with the reason of its condition Ready.",
	})
	targetProbed = define(Metric{
		Name: "hayloft_target_last_probe_timestamp_seconds", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "When a probe of the target last ended, as its status says.",
	})
	targetLeftovers = define(Metric{
		Name: "hayloft_target_leftovers", Kind: Gauge, By: Leader, Labels: []string{"target", "kind"},
		Help: "What nobody needs any more on the target, as the last look for leftovers found: transfers in progress (those of other clusters may be under way), backups without a document (no_document), drafts.",
	})
	targetLeftoversRemovable = define(Metric{
		Name: "hayloft_target_leftovers_removable", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "How many of them may be removed: they are old enough, and nobody else's.",
	})
	targetJobsLimit = define(Metric{
		Name: "hayloft_target_jobs_limit", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "The most NodeJobs that may move data to or from the target at once.",
	})
)

type targetCollector struct{ objects Objects }

func (c *targetCollector) Collect(ctx context.Context, s *Samples) error {
	list, err := c.objects.Targets(ctx)
	if err != nil {
		return err
	}
	for _, t := range sortedObjects(list) {
		l := by("target", t.Name)
		ready := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady)
		reason := "NotProbed"
		if ready != nil {
			reason = ready.Reason
		}
		s.flag(targetReady, meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionReady), l)
		s.set(targetStatus, 1, by("reason", reason, "target", t.Name))
		if t.Status.LastProbeTime != nil {
			s.set(targetProbed, seconds(t.Status.LastProbeTime.Time), l)
		}
		s.set(targetJobsLimit, float64(t.Spec.MaxConcurrentJobs), l)
		collectRefresh(s, t, l)
		if f := t.Status.Leftovers; f != nil && f.Time != nil {
			s.set(targetLeftovers, float64(f.InProgress), by("kind", "in_progress", "target", t.Name))
			s.set(targetLeftovers, float64(f.NoDocument), by("kind", "no_document", "target", t.Name))
			s.set(targetLeftovers, float64(f.Drafts), by("kind", "draft", "target", t.Name))
			s.set(targetLeftoversRemovable, float64(f.Removable), l)
		}
	}
	return nil
}
