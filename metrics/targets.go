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
	}
	return nil
}
