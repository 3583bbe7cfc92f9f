package metrics

import (
	"context"

	"hayloft.dev/pkg/api/v1alpha1"
)

var (
	quotaUsed = define(Metric{
		Name: "hayloft_quota_used_bytes", Kind: Gauge, By: Leader, Labels: []string{"namespace", "quota"},
		Help: "What the engine snapshots of points take in the SnapshotQuota's namespace.",
	})
	quotaLimit = define(Metric{
		Name: "hayloft_quota_limit_bytes", Kind: Gauge, By: Leader, Labels: []string{"namespace", "quota"},
		Help: "The SnapshotQuota's limit for its namespace. No series: it sets none.",
	})
	quotaVMUsed = define(Metric{
		Name: "hayloft_quota_vm_used_bytes", Kind: Gauge, By: Leader, Labels: []string{"namespace", "quota", "vm"},
		Help: "What the engine snapshots of the VM's points take, where the SnapshotQuota limits them for that VM.",
	})
	quotaVMLimit = define(Metric{
		Name: "hayloft_quota_vm_limit_bytes", Kind: Gauge, By: Leader, Labels: []string{"namespace", "quota", "vm"},
		Help: "The SnapshotQuota's limit for the VM, where the VM has points that take something.",
	})
)

type quotaCollector struct{ objects Objects }

func (c *quotaCollector) Collect(ctx context.Context, s *Samples) error {
	list, err := c.objects.Quotas(ctx)
	if err != nil {
		return err
	}
	for _, q := range sortedObjects(list) {
		l := by("namespace", q.Namespace, "quota", q.Name)
		if q.Status.Used != nil {
			s.set(quotaUsed, float64(q.Status.Used.Value()), l)
		}
		if q.Spec.Limit != nil && q.Spec.Limit.Sign() > 0 {
			s.set(quotaLimit, float64(q.Spec.Limit.Value()), l)
		}
		for _, vm := range sortedKeys(q.Status.VMs) {
			limit := vmLimit(q, vm)
			if limit <= 0 {
				continue
			}
			used := q.Status.VMs[vm]
			l := by("namespace", q.Namespace, "quota", q.Name, "vm", vm)
			s.set(quotaVMUsed, float64(used.Value()), l)
			s.set(quotaVMLimit, float64(limit), l)
		}
	}
	return nil
}

// vmLimit in bytes; 0: none.
func vmLimit(q *v1alpha1.SnapshotQuota, vm string) int64 {
	if own, ok := q.Spec.VMLimits[vm]; ok {
		return own.Value()
	}
	if q.Spec.VMLimit != nil {
		return q.Spec.VMLimit.Value()
	}
	return 0
}
