package rules

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Quota are the reasons against a SnapshotQuota's limits.
func Quota(q *v1alpha1.SnapshotQuota) []Refusal {
	var out []Refusal
	check := func(field string, limit *resource.Quantity) {
		if limit == nil || limit.Sign() == 0 {
			return
		}
		// "100m" is a tenth of a byte: somebody meant 100M.
		if whole := resource.NewQuantity(limit.Value(), limit.Format); whole.Cmp(*limit) != 0 {
			out = append(out, refusal(Refused, "%s: %s is not a whole number of bytes: use a unit such as Mi or Gi", field, limit.String()))
		}
	}
	check("spec.limit", q.Spec.Limit)
	check("spec.vmLimit", q.Spec.VMLimit)
	for _, vm := range slices.Sorted(maps.Keys(q.Spec.VMLimits)) {
		limit := q.Spec.VMLimits[vm]
		check("spec.vmLimits["+vm+"]", &limit)
	}
	return out
}
