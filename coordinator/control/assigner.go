package control

import (
	"context"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
)

// assigner gives jobs to agents. All jobs are one decision, so there is one key,
// and one worker.
type assigner struct {
	*Controller
	rests time.Time // until when
}

// assignKey is the one key in the assigner's queue.
var assignKey = types.NamespacedName{Name: "jobs"}

func (c *Controller) addAssigner(mgr ctrl.Manager) error {
	one := func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: assignKey}}
	}
	return ctrl.NewControllerManagedBy(mgr).Named("assignment").
		Watches(&v1alpha1.NodeJob{}, handler.EnqueueRequestsFromMapFunc(one), builder.WithPredicates(c.assignment())).
		Watches(&v1alpha1.VMBackup{}, handler.EnqueueRequestsFromMapFunc(one), builder.WithPredicates(begins)).
		Watches(&longhorn.Backup{}, handler.EnqueueRequestsFromMapFunc(one), builder.WithPredicates(endsOfBackups)).
		WatchesRawSource(c.wake.assigner.source()).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(&assigner{Controller: c})
}

// assignment passes what may change who does which job, which progress does
// not; and counts jobs as they end.
func (c *Controller) assignment() predicate.Predicate {
	return predicate.Funcs{
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*v1alpha1.NodeJob)
			now, ok2 := e.ObjectNew.(*v1alpha1.NodeJob)
			if !ok1 || !ok2 {
				return false
			}
			if plan.Finished(now) && !plan.Finished(before) {
				c.count(now)
			}
			return before.Spec.NodeName != now.Spec.NodeName || before.Status.State != now.Status.State ||
				before.Status.Session != now.Status.Session || guestNode(before) != guestNode(now)
		},
	}
}

func (c *Controller) count(j *v1alpha1.NodeJob) {
	if !c.Leading() {
		return
	}
	var waited, took time.Duration
	if j.Status.ClaimedAt != nil && j.Status.CompletedAt != nil {
		waited = max(0, j.Status.ClaimedAt.Sub(j.CreationTimestamp.Time))
		took = max(0, j.Status.CompletedAt.Sub(j.Status.ClaimedAt.Time))
	}
	c.Recorder.JobDone(metrics.JobType(j), j.Status.Reason, waited, took)
}

const (
	// assignFloor keeps two timed decisions apart.
	assignFloor = 100 * time.Millisecond
	// assignRest is how many times as long as a decision took the next one waits,
	// assignRestMost how long at most: with a thousand jobs each of their steps
	// would ask for a look at all of them.
	assignRest     = 9
	assignRestMost = 250 * time.Millisecond
)

// Reconcile decides about all jobs.
func (r *assigner) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if wait := time.Until(r.rests); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	again, took, err := r.jobs.assign(ctx)
	r.rests = time.Now().Add(min(assignRest*took, assignRestMost))
	if err != nil || again == 0 {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: max(again, assignFloor)}, nil
}
