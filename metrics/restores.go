package metrics

import (
	"context"
)

var restores = define(Metric{
	Name: "hayloft_restores", Kind: Gauge, By: Leader, Labels: []string{"phase"},
	Help: "VMRestores by phase.",
})

type restoreCollector struct{ objects Objects }

func (c *restoreCollector) Collect(ctx context.Context, s *Samples) error {
	list, err := c.objects.Restores(ctx)
	if err != nil {
		return err
	}
	phases := map[string]int{}
	for _, r := range list {
		phases[phaseOf(string(r.Status.Phase))]++
	}
	for _, phase := range sortedKeys(phases) {
		s.set(restores, float64(phases[phase]), by("phase", phase))
	}
	return nil
}
