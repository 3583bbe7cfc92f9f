package control

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// tellTarget writes a part of a target's status that no other write knows of, and
// brings the target up to date. One that is gone has nothing to be told.
func (c *Controller) tellTarget(ctx context.Context, t *v1alpha1.BackupTarget, change func(*v1alpha1.BackupTargetStatus)) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now := &v1alpha1.BackupTarget{}
		if err := c.live.Get(ctx, client.ObjectKeyFromObject(t), now); err != nil || now.UID != t.UID {
			return err
		}
		change(&now.Status)
		if err := c.client.Status().Update(ctx, now); err != nil {
			return err
		}
		*t = *now
		return nil
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status of BackupTarget %s: %w", t.Name, err)
	}
	return nil
}

// requested is the request that stands in an annotation of a target, "" for none.
func requested(t *v1alpha1.BackupTarget, annotation string) string {
	return cutTo(t.Annotations[annotation], 64)
}

// testAsked is the request for a test that stands on a target, "" for none.
func testAsked(t *v1alpha1.BackupTarget) string {
	return requested(t, v1alpha1.AnnotationTest)
}

// testWanted: somebody asked for a test that no probe has answered yet.
func testWanted(t *v1alpha1.BackupTarget, last probed) bool {
	asked := testAsked(t)
	return asked != "" && asked != last.asked && (t.Status.Test == nil || t.Status.Test.Requested != asked)
}

// readiness is the condition Ready, from the last probe.
func (r *targets) readiness(t *v1alpha1.BackupTarget, last probed) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Probed",
		Message: "an object was written, read back and deleted", ObservedGeneration: t.Generation,
	}
	if t.Spec.ReadOnly {
		c.Message = "it was listed and read; nothing is written there (spec.readOnly)"
	}
	if last.err != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, last.err.Reason, last.err.Message
		if why := r.shareRefused.Load(); why != nil && *why != "" && target.Mounted(t.Spec) {
			c.Message = cutTo(c.Message+": "+*why, 4096)
		}
	}
	return c
}

// freesSpace is told by a probe that went well, and stands as it is after another.
func freesSpace(t *v1alpha1.BackupTarget, st *v1alpha1.BackupTargetStatus, last probed) {
	switch {
	case t.Spec.ReadOnly:
		meta.RemoveStatusCondition(&st.Conditions, v1alpha1.ConditionFreesSpace)
	case last.err != nil:
	case last.keeps != "":
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionFreesSpace, Status: metav1.ConditionFalse, Reason: string(last.keeps), Message: last.keeps.Message(), ObservedGeneration: t.Generation,
		})
	default:
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionFreesSpace, Status: metav1.ConditionTrue, Reason: "Deleted", Message: "nothing was seen to be kept of what was deleted", ObservedGeneration: t.Generation,
		})
	}
}

// onlyDefault tells whether a target that is to be the default is the only one.
func onlyDefault(t *v1alpha1.BackupTarget, st *v1alpha1.BackupTargetStatus, all []v1alpha1.BackupTarget) {
	if !t.Spec.Default {
		meta.RemoveStatusCondition(&st.Conditions, v1alpha1.ConditionDefault)
		return
	}
	c := metav1.Condition{
		Type: v1alpha1.ConditionDefault, Status: metav1.ConditionTrue, Reason: "OnlyOne",
		Message: "VMBackups and VMSchedules that name no target get this one", ObservedGeneration: t.Generation,
	}
	if _, refusals := rules.DefaultTarget(all); len(refusals) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, refusals[0].Reason, rules.Sentences(refusals)
	}
	meta.SetStatusCondition(&st.Conditions, c)
}

// otherDefaults are the other targets that are to be the default: whether they are
// the only one depends on this one.
func (c *Controller) otherDefaults(ctx context.Context, o client.Object) []reconcile.Request {
	var all v1alpha1.BackupTargetList
	if err := c.cache.List(ctx, &all); err != nil {
		c.Log.Warn("the other targets could not be listed", "error", err)
		return nil
	}
	var out []reconcile.Request
	for i := range all.Items {
		if t := &all.Items[i]; t.Spec.Default && t.Name != o.GetName() {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(t)})
		}
	}
	return out
}

// tested answers a request for a test with the probe that was made for it.
func tested(t *v1alpha1.BackupTarget, st *v1alpha1.BackupTargetStatus, last probed) {
	asked := testAsked(t)
	refused := last.err != nil && last.took == 0
	if asked == "" || last.running || asked != last.asked && !refused || st.Test != nil && st.Test.Requested == asked {
		return
	}
	st.Test = &v1alpha1.TargetTest{Requested: asked, Time: metav1.NewTime(last.at), Passed: last.err == nil, Warning: last.keeps.Message(), Milliseconds: last.took.Milliseconds()}
	if last.err != nil {
		st.Test.Reason, st.Test.Message = last.err.Reason, cutTo(last.err.Message, 2048)
	}
}
