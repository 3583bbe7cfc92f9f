package control

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
)

// State reads from the cache what is told to Prometheus.
func (c *Controller) State(ctx context.Context) (metrics.State, error) {
	s := metrics.State{
		Jobs: map[metrics.JobKey]int{}, Points: map[string]int{}, Restores: map[string]int{}, Targets: map[string]bool{}, SnapshotBytes: map[string]int64{},
	}
	var jobs v1alpha1.NodeJobList
	var leases coordinationv1.LeaseList
	var points v1alpha1.VMBackupList
	var restores v1alpha1.VMRestoreList
	var targets v1alpha1.BackupTargetList
	var quotas v1alpha1.SnapshotQuotaList
	for _, l := range []struct {
		list client.ObjectList
		opts []client.ListOption
	}{
		{&jobs, []client.ListOption{client.InNamespace(c.Namespace)}},
		{&leases, []client.ListOption{client.InNamespace(c.Namespace), client.MatchingLabels{v1alpha1.LabelLease: lease.KindVolume}}},
		{&points, nil},
		{&restores, nil},
		{&targets, nil},
		{&quotas, nil},
	} {
		if err := c.cache.List(ctx, l.list, append(l.opts, client.UnsafeDisableDeepCopy)...); err != nil {
			return s, fmt.Errorf("reading the state: %w", err)
		}
	}
	now := time.Now()
	for i := range jobs.Items {
		j := &jobs.Items[i]
		state := string(j.Status.State)
		if state == "" {
			state = "Pending"
		}
		s.Jobs[metrics.JobKey{Type: JobKind(j), State: state}]++
		if j.Spec.NodeName == "" && j.Status.State == v1alpha1.JobPending {
			s.Queued++
			s.OldestQueued = max(s.OldestQueued, now.Sub(j.CreationTimestamp.Time))
		}
	}
	for i := range leases.Items {
		if holder(&leases.Items[i]) != "" {
			s.LeasesHeld++
		}
	}
	for _, session := range c.sessions.Sessions() {
		if session.Alive {
			s.Sessions++
		}
	}
	for i := range points.Items {
		s.Points[phaseOr(string(points.Items[i].Status.Phase))]++
	}
	for i := range restores.Items {
		s.Restores[phaseOr(string(restores.Items[i].Status.Phase))]++
	}
	for i := range targets.Items {
		t := &targets.Items[i]
		s.Targets[t.Name] = meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionReady)
	}
	for i := range quotas.Items {
		q := &quotas.Items[i]
		if q.Status.Used != nil {
			s.SnapshotBytes[q.Namespace] = q.Status.Used.Value()
		}
		if q.Spec.Limit != nil && q.Spec.Limit.Sign() > 0 {
			s.Quotas = append(s.Quotas, metrics.Quota{Namespace: q.Namespace, Name: q.Name, Limit: q.Spec.Limit.Value()})
		}
	}
	return s, nil
}

func phaseOr(phase string) string {
	if phase == "" {
		return string(v1alpha1.BackupPending)
	}
	return phase
}
