package control

import (
	"context"
	"fmt"
	"slices"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/pkg/status"
)

// atOnce bounds how many objects of one kind are planned at the same time. Whoever
// plans one mostly waits for the API server.
const atOnce = 16

func (c *Controller) addBackups(mgr ctrl.Manager) error {
	r := &backups{
		Controller: c, fresh: newFreshest[*v1alpha1.VMBackup](), pace: newPacer(), known: newKnown(),
		captures: newMemory[*protocol.CaptureSource](), untold: newMemory[[]plan.Event](), begun: newMemory[*v1alpha1.VMBackupStatus](), doors: newDoors(),
	}
	return ctrl.NewControllerManagedBy(mgr).Named("points").
		For(&v1alpha1.VMBackup{}, builder.WithPredicates(notAtRest, c.newcomers.noted())).
		Watches(&v1alpha1.NodeJob{}, jobsOf("VMBackup")).
		Watches(&v1alpha1.VMRestore{}, handler.EnqueueRequestsFromMapFunc(readPoint)).
		Watches(&v1alpha1.VMBackup{}, handler.EnqueueRequestsFromMapFunc(c.supersededBy), builder.WithPredicates(becameReady)).
		Watches(&v1alpha1.BackupTarget{}, handler.EnqueueRequestsFromMapFunc(c.waitingFor), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&longhorn.Snapshot{}, handler.EnqueueRequestsFromMapFunc(c.keptIn), builder.WithPredicates(c.missing.changes())).
		Watches(&longhorn.Volume{}, handler.EnqueueRequestsFromMapFunc(c.keptIn), builder.WithPredicates(onlyDeletions)).
		WatchesMetadata(virtualMachines(), handler.EnqueueRequestsFromMapFunc(c.keptOf), builder.WithPredicates(onlyDeletions)).
		WatchesRawSource(c.wake.backups.source()).
		WithOptions(controller.Options{MaxConcurrentReconciles: atOnce}).
		Complete(r)
}

func (c *Controller) addRestores(mgr ctrl.Manager) error {
	r := &restores{
		Controller: c, fresh: newFreshest[*v1alpha1.VMRestore](), pace: newPacer(), known: newKnown(),
		cleaned: newMemory[bool](), whole: newMemory[*v1alpha1.VMBackup](), refused: newMemory[string](), copies: newMemory[bool](),
	}
	return ctrl.NewControllerManagedBy(mgr).Named("restores").
		For(&v1alpha1.VMRestore{}).
		Watches(&v1alpha1.NodeJob{}, jobsOf("VMRestore")).
		Watches(&longhorn.Volume{}, handler.EnqueueRequestsFromMapFunc(c.restoreOf)).
		Watches(&corev1.PersistentVolumeClaim{}, handler.EnqueueRequestsFromMapFunc(c.restoreOf)).
		WatchesRawSource(c.wake.restores.source()).
		WithOptions(controller.Options{MaxConcurrentReconciles: atOnce}).
		Complete(r)
}

// jobsOf leads from a job to its owner of a kind.
func jobsOf(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		owner := o.(*v1alpha1.NodeJob).Spec.Owner
		if owner.Kind != kind {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}}}
	})
}

// readPoint leads from a restore to the point that it reads.
func readPoint(_ context.Context, o client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: status.PointOf(o.(*v1alpha1.VMRestore))}}
}

// notAtRest passes over what a leader finds in whose life nothing more happens by
// itself: points that were found on a target, and Ready ones of type Backup that
// have no engine snapshots any more. Nearly all are that.
var notAtRest = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool {
		if atRest, idle := points.AtRest(e.Object); atRest {
			return !idle
		}
		known, ok := points.Of(e.Object)
		b := known.Point()
		return ok && (b.Spec.Found == nil || claims(b) || ask.Verification(b).Open)
	},
}

func holdsSnapshots(b *v1alpha1.VMBackup) bool {
	return slices.ContainsFunc(b.Status.Disks, func(d v1alpha1.BackupDisk) bool { return d.Snapshot != "" })
}

// change is what an event tells of a point, before and now.
func change(e event.UpdateEvent) (before, now *v1alpha1.VMBackup, ok bool) {
	old, ok1 := points.Of(e.ObjectOld)
	next, ok2 := points.Of(e.ObjectNew)
	return old.Point(), next.Point(), ok1 && ok2
}

// becameReady passes points that have just become Ready.
var becameReady = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, now, ok := change(e)
		return ok && before.Status.Phase != v1alpha1.BackupReady && now.Status.Phase == v1alpha1.BackupReady
	},
}

// supersededBy leads from a point to the earlier ones of its VM that have engine
// snapshots, which are not needed any more.
func (c *Controller) supersededBy(_ context.Context, o client.Object) []reconcile.Request {
	known, ok := points.Of(o)
	if !ok {
		return nil
	}
	siblings, err := c.siblings(known.Point())
	if err != nil {
		c.Log.Error("could not find the earlier points of a VM", "vmbackup", o.GetName(), "error", err)
		return nil
	}
	var out []reconcile.Request
	for i := range siblings {
		if siblings[i].Status.Phase == v1alpha1.BackupReady && holdsSnapshots(&siblings[i]) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&siblings[i])})
		}
	}
	return out
}

// waitingFor leads from a target to the points that have not ended on it.
func (c *Controller) waitingFor(_ context.Context, o client.Object) []reconcile.Request {
	var out []reconcile.Request
	for b := range c.points.All() {
		if b.Spec.Target == o.GetName() && (b.Spec.Found == nil || claims(b)) && (b.Status.Phase != v1alpha1.BackupReady || !b.DeletionTimestamp.IsZero()) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(b)})
		}
	}
	return out
}

// restoreOf leads from an object that a restore made to that restore.
func (c *Controller) restoreOf(ctx context.Context, o client.Object) []reconcile.Request {
	uid := o.GetLabels()[v1alpha1.LabelRestore]
	if uid == "" {
		return nil
	}
	var list v1alpha1.VMRestoreList
	if err := c.cache.List(ctx, &list, client.MatchingFields{indexUID: uid}); err != nil {
		c.Log.Error("could not find the restore of an object", "object", o.GetName(), "error", err)
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}

// watchSessions feeds the observer from the cache, in every coordinator, so
// that a new leader knows already who lives.
func (c *Controller) watchSessions(ctx context.Context, mgr ctrl.Manager) error {
	informer, err := mgr.GetCache().GetInformer(ctx, &coordinationv1.Lease{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching Leases: %w", err)
	}
	seen := func(o any) {
		l, ok := o.(*coordinationv1.Lease)
		if !ok || l.Labels[v1alpha1.LabelLease] != "session" {
			return
		}
		before := len(c.sessions.Sessions())
		c.sessions.Observe(l)
		if len(c.sessions.Sessions()) != before {
			c.wake.assigner.wake(assignKey)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, o any) { seen(o) },
		DeleteFunc: func(o any) {
			if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if m, err := meta.Accessor(o); err == nil {
				c.sessions.Forget(m.GetName())
				c.wake.assigner.wake(assignKey)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watching Leases: %w", err)
	}
	return nil
}
