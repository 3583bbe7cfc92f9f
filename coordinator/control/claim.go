package control

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/pkg/api/v1alpha1"
)

// A found point that was claimed is this cluster's to delete: from then on it has
// the finalizer, and its deletion goes the way of any other point's. Nothing else
// is planned for it, since nothing of it is in this cluster.

// claimed takes a found point over, and says so once. The status goes first: a point
// that has the finalizer and no beginning would be let go with its data left behind.
func (r *backups) claimed(ctx context.Context, whole points.Whole) error {
	b := whole.Point()
	if b.Status.Document == "" {
		return nil // a status that was not written yet comes with the next refresh
	}
	if b.Status.StartedAt == nil {
		// From its beginning a point has something to clean up.
		now := metav1.Now()
		b.Status.StartedAt = &now
		message := fmt.Sprintf("found on the target and claimed: deleting this object deletes its data there, unless spec.deletionPolicy is Retain; it was taken by %s", takenBy(b.Spec.Found))
		if b.Status.Phase == v1alpha1.BackupReady {
			meta.SetStatusCondition(&b.Status.Conditions, metav1.Condition{
				Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: plan.ReasonFound, Message: message, ObservedGeneration: b.Generation,
			})
		}
		b.Status.ObservedGeneration = b.Generation
		if err := r.client.Status().Update(ctx, b); err != nil {
			return fmt.Errorf("writing that it was claimed: %w", err)
		}
		r.events.Event(b, corev1.EventTypeNormal, "Claimed", shorten(message))
	}
	_, err := r.finalizer(ctx, b, v1alpha1.FinalizerData, true, nil)
	return err
}

// takenBy names who took a found point, for a sentence.
func takenBy(f *v1alpha1.FoundPoint) string {
	if f.MadeBy != "" {
		return string(f.MadeBy)
	}
	return "cluster " + string(f.ClusterUID)
}

// claims tells whether a found point was claimed.
func claims(b *v1alpha1.VMBackup) bool { return b.Spec.Found != nil && b.Spec.Claimed }
