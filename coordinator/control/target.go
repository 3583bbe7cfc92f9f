package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// targets probes BackupTargets and writes what was found into their status.
type targets struct {
	*Controller
	known *known
}

func (c *Controller) addTargets(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("targets").
		// Only a changed spec wakes it, and a person's word: its own status writes
		// must not.
		For(&v1alpha1.BackupTarget{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, asked))).
		Watches(&v1alpha1.BackupTarget{}, handler.EnqueueRequestsFromMapFunc(c.otherDefaults), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(c.wake.targets.source()).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(&targets{Controller: c, known: newKnown()})
}

// requests are the annotations by which somebody asks for work on a target. Each is
// taken up once for each value, which the answer in the status repeats.
var requests = []string{v1alpha1.AnnotationRefresh, v1alpha1.AnnotationTest, v1alpha1.AnnotationRemember, v1alpha1.AnnotationLeftovers}

// asked passes targets on which somebody has asked for something.
var asked = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations()
		return slices.ContainsFunc(requests, func(r string) bool { return was[r] != is[r] })
	},
}

// Reconcile probes and refreshes a target when that is due, and records what was
// found.
func (r *targets) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var t v1alpha1.BackupTarget
	err := r.cache.Get(ctx, req.NamespacedName, &t)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading BackupTarget %s: %w", req.Name, err)
	}
	if former := r.known.see(req.NamespacedName, t.UID); former != "" {
		r.pool.forget(former)
		r.probes.forget(former)
		r.refreshes.forget(former)
	}
	if err != nil || !t.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	if err := r.graves.settle(ctx, &t); err != nil {
		return reconcile.Result{}, err
	}
	if err := r.graves.remember(ctx, &t); err != nil {
		return reconcile.Result{}, err
	}
	var all v1alpha1.BackupTargetList
	if err := r.cache.List(ctx, &all); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing the other targets: %w", err)
	}
	last := r.probes.last(&t)
	if refusals := rules.Target(&t, all.Items); len(refusals) > 0 {
		// What no webhook has refused is not worked with.
		last.at, last.keeps = time.Now(), ""
		last.err = &plan.WorkError{Reason: refusals[0].Reason, Message: rules.Sentences(refusals)}
		if err := r.record(ctx, &t, all.Items, last, t.Status.Refresh); err != nil && !apierrors.IsConflict(err) {
			return reconcile.Result{}, err
		}
		return reconcile.Result{RequeueAfter: r.tuning().ProbeFloor}, nil
	}
	soon := r.leftovers(&t)
	due := nextProbe(last, r.ProbeEvery, r.tuning().ProbeFloor)
	if wait := time.Until(due); !last.running && (wait <= 0 || testWanted(&t, last)) {
		r.probes.request(&t, func() {})
	}
	look := r.refreshes.look(&t, last)
	if look.loop {
		return reconcile.Result{RequeueAfter: look.again}, nil
	}
	if !last.at.IsZero() {
		// That a refresh begins is written before it does: a leader that dies in it
		// must not have its successor begin another at once.
		if err := r.record(ctx, &t, all.Items, last, look.status); err != nil {
			if look.begin {
				r.refreshes.giveUp(&t)
			}
			if apierrors.IsConflict(err) {
				return reconcile.Result{RequeueAfter: conflictPause}, nil
			}
			return reconcile.Result{}, err
		}
	}
	if look.begin {
		r.refreshes.run(&t, look.allowance)
	}
	again := time.Until(due)
	if look.again > 0 {
		again = min(again, look.again)
	}
	if soon > 0 {
		again = min(again, soon)
	}
	return reconcile.Result{RequeueAfter: max(time.Second, again)}, nil
}

// nextProbe is when a target is to be probed again: seldom while it is good,
// with a growing pause up to the floor while it is not.
func nextProbe(last probed, every, floor time.Duration) time.Time {
	switch {
	case last.at.IsZero():
		return time.Time{}
	case last.err == nil:
		return last.at.Add(max(every, floor))
	}
	pause := 5 * time.Second
	for i := 1; i < last.failures && pause < floor; i++ {
		pause *= 2
	}
	return last.at.Add(min(pause, floor))
}

// record writes the last probe and the last refresh into the status, if that tells
// something new.
func (r *targets) record(ctx context.Context, t *v1alpha1.BackupTarget, all []v1alpha1.BackupTarget, last probed, refresh *v1alpha1.TargetRefreshStatus) error {
	st := t.Status.DeepCopy()
	ready := r.readiness(t, last)
	// A new generation alone is no news for people, and an object has few events.
	before := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady)
	told := before != nil && before.Status == ready.Status && before.Reason == ready.Reason && before.Message == ready.Message
	changed := meta.SetStatusCondition(&st.Conditions, ready)
	encrypted := r.tellEncryption(t, &st.Conditions)
	freesSpace(t, st, last)
	onlyDefault(t, st, all)
	tested(t, st, last)
	noteChange(t, st, time.Now())
	url, err := target.URL(t.Spec)
	if err != nil {
		url = ""
	}
	st.URL, st.Refresh = url, refresh
	news := changed || !equality.Semantic.DeepEqual(*st, t.Status)
	if !news && st.LastProbeTime != nil && last.at.Sub(st.LastProbeTime.Time) < r.tuning().ProbeFloor {
		return nil
	}
	at := metav1.NewTime(last.at)
	st.LastProbeTime = &at
	t.Status = *st
	if err := r.client.Status().Update(ctx, t); err != nil {
		return fmt.Errorf("writing the status of BackupTarget %s: %w", t.Name, client.IgnoreNotFound(err))
	}
	if !told {
		kind, reason := "Normal", "Ready"
		if last.err != nil {
			kind, reason = "Warning", last.err.Reason
		}
		r.events.Event(t, kind, reason, shorten(ready.Message))
	}
	if encrypted != nil {
		r.encryptionEvent(t, encrypted)
	}
	return nil
}
