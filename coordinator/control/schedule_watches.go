package control

import (
	"context"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
)

func (c *Controller) addSchedules(ctx context.Context, mgr ctrl.Manager) error {
	t, err := newTimers(ctx, c.Leading, func(key types.NamespacedName) {
		c.newcomers.note(scheduleComer(key))
		c.wake.schedules.wake(key)
	}, c.Log)
	if err != nil {
		return err
	}
	if err := mgr.Add(t); err != nil {
		return fmt.Errorf("adding the timers: %w", err)
	}
	r := &schedules{Controller: c, fresh: newFreshest[*v1alpha1.VMSchedule](), known: newKnown(), timers: t, made: newMemory[[]*v1alpha1.VMBackup](), owed: newMemory[*owed]()}
	return ctrl.NewControllerManagedBy(mgr).Named("schedules").
		For(&v1alpha1.VMSchedule{}, builder.WithPredicates(saysOtherwise)).
		Watches(&v1alpha1.VMBackup{}, handler.EnqueueRequestsFromMapFunc(c.scheduleOf), builder.WithPredicates(turns)).
		Watches(&v1alpha1.BackupTarget{}, handler.EnqueueRequestsFromMapFunc(c.waitingToResume), builder.WithPredicates(targetReady)).
		WatchesRawSource(c.wake.schedules.source()).
		WithOptions(controller.Options{MaxConcurrentReconciles: atOnce}).
		Complete(r)
}

// saysOtherwise passes schedules that somebody changed. Our own writes of their
// status have nothing new for us.
var saysOtherwise = predicate.Funcs{
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, now := e.ObjectOld, e.ObjectNew
		return before.GetGeneration() != now.GetGeneration() || before.GetUID() != now.GetUID() ||
			before.GetDeletionTimestamp().IsZero() != now.GetDeletionTimestamp().IsZero() ||
			!maps.Equal(before.GetAnnotations(), now.GetAnnotations())
	},
}

// turns passes points that a schedule made and that come, end, go, or are pinned
// or let go. When a leader begins, it looks at each schedule in any case.
var turns = predicate.Funcs{
	CreateFunc:  func(e event.CreateEvent) bool { return !e.IsInInitialList && scheduled(e.Object) },
	DeleteFunc:  func(e event.DeleteEvent) bool { return scheduled(e.Object) },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, now, ok := change(e)
		return ok && scheduled(now) && (runs.Ended(before) != runs.Ended(now) ||
			runs.Ended(now) && before.Status.Phase != now.Status.Phase || before.Spec.Pinned != now.Spec.Pinned)
	},
}

func scheduled(o client.Object) bool { return o.GetLabels()[v1alpha1.LabelSchedule] != "" }

// targetReady passes targets that have just become Ready.
var targetReady = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.BackupTarget)
		now, ok2 := e.ObjectNew.(*v1alpha1.BackupTarget)
		return ok1 && ok2 && !meta.IsStatusConditionTrue(before.Status.Conditions, v1alpha1.ConditionReady) &&
			meta.IsStatusConditionTrue(now.Status.Conditions, v1alpha1.ConditionReady)
	},
}

// scheduleOf leads from a point to the schedule that made it.
func (c *Controller) scheduleOf(ctx context.Context, b client.Object) []reconcile.Request {
	uid, name := b.GetLabels()[v1alpha1.LabelSchedule], b.GetAnnotations()[v1alpha1.AnnotationSchedule]
	key := client.ObjectKey{Namespace: b.GetNamespace(), Name: name}
	var s v1alpha1.VMSchedule
	if err := c.cache.Get(ctx, key, &s, client.UnsafeDisableDeepCopy); err != nil || string(s.UID) != uid {
		return nil // it is gone, or another one has its name
	}
	return []reconcile.Request{{NamespacedName: key}}
}

// waitingToResume leads from a target to the schedules that may go on by
// themselves.
func (c *Controller) waitingToResume(ctx context.Context, t client.Object) []reconcile.Request {
	return c.schedulesBy(ctx, client.MatchingFields{indexResumes: t.GetName()})
}

func (c *Controller) schedulesBy(ctx context.Context, where ...client.ListOption) []reconcile.Request {
	var list v1alpha1.VMScheduleList
	if err := c.cache.List(ctx, &list, append(where, client.UnsafeDisableDeepCopy)...); err != nil {
		c.Log.Error("could not find the schedules that something is for", "error", err)
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}

// resumesOn is the target for which a suspended schedule waits.
func resumesOn(o client.Object) string {
	s := o.(*v1alpha1.VMSchedule)
	if !s.Spec.Suspend || s.Spec.ResumeAfterTargetReadySeconds == nil {
		return ""
	}
	return s.Spec.Target
}
