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
	// Points are all VMBackups, each to be looked at until the next one comes: there
	// are too many to have them all at once.
	Points(ctx context.Context) (iter.Seq[*v1alpha1.VMBackup], error)
	Restores(ctx context.Context) ([]*v1alpha1.VMRestore, error)
	Targets(ctx context.Context) ([]*v1alpha1.BackupTarget, error)
	Quotas(ctx context.Context) ([]*v1alpha1.SnapshotQuota, error)
	Schedules(ctx context.Context) ([]*v1alpha1.VMSchedule, error)
	Jobs(ctx context.Context) ([]*v1alpha1.NodeJob, error)
	Nodes(ctx context.Context) (map[string]Node, error)
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
		"points":   &pointCollector{objects: o, plans: schedules{now: time.Now}},
		"restores": &restoreCollector{objects: o},
		"targets":  &targetCollector{objects: o},
		"quotas":   &quotaCollector{objects: o},
		"jobs":     &jobCollector{objects: o, limits: l, now: time.Now},
		"nodes":    &nodeCollector{objects: o},
	}
}
