package control

import (
	"context"
	"fmt"
	"sync"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/quota"
	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// doors let one point at a time into each namespace that has a SnapshotQuota,
// from when its usage is read until the point's reservation is written.
type doors struct {
	mu sync.Mutex
	of map[string]*sync.Mutex // namespace -> its door
}

func newDoors() *doors { return &doors{of: map[string]*sync.Mutex{}} }

func (d *doors) enter(namespace string) (leave func()) {
	d.mu.Lock()
	door := d.of[namespace]
	if door == nil {
		door = &sync.Mutex{}
		d.of[namespace] = door
	}
	d.mu.Unlock()
	door.Lock()
	return door.Unlock
}

// quotas of a namespace.
func (c *Controller) quotas(ctx context.Context, namespace string) ([]v1alpha1.SnapshotQuota, error) {
	var list v1alpha1.SnapshotQuotaList
	if err := c.cache.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("listing the SnapshotQuotas of namespace %s: %w", namespace, err)
	}
	return list.Items, nil
}

// space says whether a point fits into the limits of its namespace; latest as
// for usage.
func (c *Controller) space(ctx context.Context, b *v1alpha1.VMBackup, quotas []v1alpha1.SnapshotQuota, s *rules.Source, latest func(*v1alpha1.VMBackup) *v1alpha1.VMBackup) (plan.Space, error) {
	var volumes []quota.Volume
	for _, d := range s.Disks {
		v, err := c.volumeSpace(ctx, d.Volume)
		if err != nil {
			return plan.Space{}, err
		}
		volumes = append(volumes, v)
	}
	usage, err := c.usage(ctx, b.Namespace, latest)
	if err != nil {
		return plan.Space{}, err
	}
	expected := quota.Expected(volumes)
	return plan.Space{ExpectedBytes: expected, Refusals: quota.Refusals(quotas, usage, b.Spec.VM, expected)}, nil
}

// volumeSpace is what Longhorn tells of a volume, some seconds old.
func (c *Controller) volumeSpace(ctx context.Context, name string) (quota.Volume, error) {
	var vol longhorn.Volume
	if ok, err := getFrom(ctx, c.cache, c.LonghornNamespace, name, &vol); err != nil || !ok {
		return quota.Volume{}, err
	}
	snapshots, err := c.cache.SnapshotBytes(name)
	if err != nil {
		return quota.Volume{}, err
	}
	return quota.Volume{SizeBytes: vol.Spec.Size, ActualBytes: vol.Status.ActualSize, SnapshotBytes: snapshots}, nil
}

// usage adds up what the points of a namespace take; latest knows of writes
// that the cache does not show yet.
func (c *Controller) usage(ctx context.Context, namespace string, latest func(*v1alpha1.VMBackup) *v1alpha1.VMBackup) (quota.Usage, error) {
	all, err := c.points.InNamespace(namespace)
	if err != nil {
		return quota.Usage{}, err
	}
	sizes := map[string]int64{}
	var points []quota.Point
	for _, b := range all {
		b = latest(b)
		if b.Status.StartedAt == nil {
			continue
		}
		p := quota.Point{VM: b.Spec.VM, Complete: b.Status.CutAt != nil || b.Status.Phase == v1alpha1.BackupFailed}
		if b.Status.ReservedBytes != nil {
			p.ReservedBytes = *b.Status.ReservedBytes
		}
		for _, d := range b.Status.Disks {
			if d.Snapshot == "" {
				continue
			}
			p.Snapshots = append(p.Snapshots, d.Snapshot)
			var s longhorn.Snapshot
			ok, err := getFrom(ctx, c.cache, c.LonghornNamespace, d.Snapshot, &s)
			if err != nil {
				return quota.Usage{}, err
			}
			if ok && s.Spec.Volume == d.Volume { // not the object of a clone's
				sizes[d.Snapshot] = s.Status.Size
			}
		}
		points = append(points, p)
	}
	return quota.Add(points, sizes), nil
}
