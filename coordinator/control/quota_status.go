package control

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/pkg/api/v1alpha1"
)

// quotaEvery is the time between two looks at what a namespace uses: snapshots
// grow and shrink without any object of ours changing. It reads the cache only.
const quotaEvery = 15 * time.Second

// quotaStatus writes what is used into SnapshotQuotas.
type quotaStatus struct{ *Controller }

func (c *Controller) addQuotas(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("quotas").
		For(&v1alpha1.SnapshotQuota{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.VMBackup{}, handler.EnqueueRequestsFromMapFunc(c.quotasOver), builder.WithPredicates(changesUsage)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(&quotaStatus{c})
}

// changesUsage passes points that begin, end or go.
var changesUsage = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, now, ok := change(e)
		return ok && before.Status.Phase != now.Status.Phase
	},
}

// quotasOver leads from a point to the quotas of its namespace.
func (c *Controller) quotasOver(ctx context.Context, o client.Object) []reconcile.Request {
	quotas, err := c.quotas(ctx, o.GetNamespace())
	if err != nil {
		c.Log.Error("could not find the quotas over a point", "vmbackup", o.GetName(), "error", err)
		return nil
	}
	var out []reconcile.Request
	for i := range quotas {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&quotas[i])})
	}
	return out
}

// Reconcile writes one quota's status if that tells something new.
func (r *quotaStatus) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var q v1alpha1.SnapshotQuota
	if err := r.cache.Get(ctx, req.NamespacedName, &q); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	usage, err := r.usage(ctx, q.Namespace, func(b *v1alpha1.VMBackup) *v1alpha1.VMBackup { return b })
	if err != nil {
		return reconcile.Result{}, err
	}
	st := v1alpha1.SnapshotQuotaStatus{ObservedGeneration: q.Generation, ObservedAt: q.Status.ObservedAt}
	st.Used, st.VMs = usage.Status()
	if equality.Semantic.DeepEqual(st, q.Status) {
		return reconcile.Result{RequeueAfter: quotaEvery}, nil
	}
	now := metav1.Now()
	st.ObservedAt = &now
	q.Status = st
	if err := r.client.Status().Update(ctx, &q); apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	} else if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("writing the status of SnapshotQuota %s: %w", req, err)
	}
	return reconcile.Result{RequeueAfter: quotaEvery}, nil
}
