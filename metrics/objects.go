package metrics

import (
	"context"
	"iter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Objects are the leader's caches. What they return is shared with whoever else
// reads them and must not be changed.
type Objects interface {
	// VMs are all VirtualMachines, by their metadata only.
	VMs(ctx context.Context) ([]*metav1.PartialObjectMetadata, error)
	// Points is a feed of all VMBackups, for one collector.
	Points() Points
	Restores(ctx context.Context) ([]*v1alpha1.VMRestore, error)
	Targets(ctx context.Context) ([]*v1alpha1.BackupTarget, error)
	Quotas(ctx context.Context) ([]*v1alpha1.SnapshotQuota, error)
	Schedules(ctx context.Context) ([]*v1alpha1.VMSchedule, error)
	Jobs(ctx context.Context) ([]*v1alpha1.NodeJob, error)
	Nodes(ctx context.Context) (map[string]Node, error)
}

// Points tells of which VMs points have changed: there are too many points to look at
// each in every scrape.
type Points interface {
	// Changed calls see for each VM of whose points one has come, changed or gone since
	// it was last called, with all that there are of it now, and the first time for each
	// that has any. A point is to be looked at until the next one comes. What was not
	// seen because of an error, it tells the next time. It is called by one at a time.
	Changed(see func(namespace, vm string, all iter.Seq[*v1alpha1.VMBackup])) error
}

// Node is a node that has a session of an agent, or an attached volume.
type Node struct {
	// Alive: the session of an agent there is alive.
	Alive bool
	// Leases are the volume leases that sessions of the node hold.
	Leases int
	// Volumes are the Longhorn volumes that are attached there.
	Volumes int
}

// Limits are settings of the coordinator that figures are to be seen beside.
type Limits struct {
	// JobsPerNode tells the most jobs that one node is given at once.
	JobsPerNode func() int
}

// Collectors returns the collectors of all objects, by name.
func Collectors(o Objects, l Limits) map[string]Collector {
	return map[string]Collector{
		"points":   &pointCollector{objects: o, changed: o.Points(), plans: schedules{now: time.Now}},
		"restores": &restoreCollector{objects: o},
		"targets":  &targetCollector{objects: o},
		"quotas":   &quotaCollector{objects: o},
		"jobs":     &jobCollector{objects: o, limits: l, now: time.Now},
		"nodes":    &nodeCollector{objects: o},
	}
}
