package control

import (
	"context"
	"fmt"
	"sync"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/volumes"
	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
)

// Objects are the caches as package metrics reads them at each scrape. Of what
// there are many it reads the informers' stores: a List would copy them all.
type Objects struct {
	c                                         *Controller
	vms, restores, targets, quotas, schedules toolscache.Store
	attached                                  *attached
}

func (c *Controller) newObjects(ctx context.Context, mgr ctrl.Manager) (*Objects, error) {
	o := &Objects{c: c, attached: &attached{node: map[string]string{}}}
	for _, s := range []struct {
		of client.Object
		to *toolscache.Store
	}{
		{virtualMachines(), &o.vms},
		{&v1alpha1.VMRestore{}, &o.restores},
		{&v1alpha1.BackupTarget{}, &o.targets},
		{&v1alpha1.SnapshotQuota{}, &o.quotas},
		{&v1alpha1.VMSchedule{}, &o.schedules},
	} {
		informer, err := mgr.GetCache().GetInformer(ctx, s.of, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("watching %T for metrics: %w", s.of, err)
		}
		shared, ok := informer.(toolscache.SharedInformer)
		if !ok {
			return nil, fmt.Errorf("the cache of %T has no store to read metrics from: it is %T", s.of, informer)
		}
		*s.to = shared.GetStore()
	}
	informer, err := mgr.GetCache().GetInformer(ctx, &longhorn.Volume{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watching Longhorn's volumes for metrics: %w", err)
	}
	if _, err := informer.AddEventHandler(o.attached.handler()); err != nil {
		return nil, fmt.Errorf("watching Longhorn's volumes for metrics: %w", err)
	}
	return o, nil
}

// VMs are all VirtualMachines by their metadata.
func (o *Objects) VMs(context.Context) ([]*metav1.PartialObjectMetadata, error) {
	return stored[*metav1.PartialObjectMetadata](o.vms)
}

// countVMs is how many VMs a namespace has, and countSchedules how many VMSchedules.
func (o *Objects) countVMs(namespace string) int { return countIn(o.vms, namespace) }

func (o *Objects) countSchedules(namespace string) int { return countIn(o.schedules, namespace) }

func countIn(s toolscache.Store, namespace string) int {
	if indexed, ok := s.(toolscache.Indexer); ok {
		if keys, err := indexed.IndexKeys(toolscache.NamespaceIndex, namespace); err == nil {
			return len(keys)
		}
	}
	return len(s.ListKeys())
}

// Points is a feed of all VMBackups, to be asked again and again.
func (o *Objects) Points() metrics.Points { return o.c.points.Follow() }

// Restores are all VMRestores.
func (o *Objects) Restores(context.Context) ([]*v1alpha1.VMRestore, error) {
	return stored[*v1alpha1.VMRestore](o.restores)
}

// Targets are all BackupTargets.
func (o *Objects) Targets(context.Context) ([]*v1alpha1.BackupTarget, error) {
	return stored[*v1alpha1.BackupTarget](o.targets)
}

// Quotas are all SnapshotQuotas.
func (o *Objects) Quotas(context.Context) ([]*v1alpha1.SnapshotQuota, error) {
	return stored[*v1alpha1.SnapshotQuota](o.quotas)
}

// Schedules are all VMSchedules.
func (o *Objects) Schedules(context.Context) ([]*v1alpha1.VMSchedule, error) {
	return stored[*v1alpha1.VMSchedule](o.schedules)
}

// Jobs are all NodeJobs.
func (o *Objects) Jobs(ctx context.Context) ([]*v1alpha1.NodeJob, error) {
	var list v1alpha1.NodeJobList
	if err := o.c.cache.List(ctx, &list, client.InNamespace(o.c.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing jobs: %w", err)
	}
	out := make([]*v1alpha1.NodeJob, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// Nodes are those with a session or an attached volume.
func (o *Objects) Nodes(ctx context.Context) (map[string]metrics.Node, error) {
	out := o.attached.nodes()
	for _, s := range o.c.sessions.Sessions() {
		if s.Node != "" {
			n := out[s.Node]
			n.Alive = n.Alive || s.Alive
			out[s.Node] = n
		}
	}
	var leases coordinationv1.LeaseList
	err := o.c.cache.List(ctx, &leases, client.InNamespace(o.c.Namespace),
		client.MatchingLabels{v1alpha1.LabelLease: lease.KindVolume}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing volume leases: %w", err)
	}
	for i := range leases.Items {
		node := o.c.sessions.Node(holder(&leases.Items[i]))
		if n, known := out[node]; known {
			n.Leases++
			out[node] = n
		}
	}
	return out, nil
}

// stored are the objects of an informer's store.
func stored[T any](s toolscache.Store) ([]T, error) {
	all := s.List()
	out := make([]T, 0, len(all))
	for _, o := range all {
		t, ok := o.(T)
		if !ok {
			return nil, fmt.Errorf("a %T was found in a cache of %T", o, t)
		}
		out = append(out, t)
	}
	return out, nil
}

// attached knows where Longhorn's volumes are attached. It is fed by their
// informer.
type attached struct {
	mu   sync.Mutex
	node map[string]string // volume -> node, of those that are attached
}

func (a *attached) handler() toolscache.ResourceEventHandler {
	see := func(o any) {
		if name, node, ok := volumes.Attached(o); ok {
			a.set(name, node)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    see,
		UpdateFunc: func(_, o any) { see(o) },
		DeleteFunc: func(o any) {
			if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if name, _, ok := volumes.Attached(o); ok {
				a.set(name, "")
			}
		},
	}
}

func (a *attached) set(volume, node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if node == "" {
		delete(a.node, volume)
		return
	}
	a.node[volume] = node
}

func (a *attached) nodes() map[string]metrics.Node {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]metrics.Node{}
	for _, name := range a.node {
		n := out[name]
		n.Volumes++
		out[name] = n
	}
	return out
}
