package control

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// AllTargets are all targets, read live: which of them is the default is asked for
// seldom, and by whoever is served.
func (c *Controller) AllTargets(ctx context.Context) ([]v1alpha1.BackupTarget, error) {
	var list v1alpha1.BackupTargetList
	if err := c.live.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing the targets: %w", err)
	}
	return list.Items, nil
}

// TargetOf is the target of a point; nil: there is none.
func (c *Controller) TargetOf(ctx context.Context, b *v1alpha1.VMBackup) (*v1alpha1.BackupTarget, error) {
	return c.target(ctx, b.Spec.Target)
}

// targetUse is a target by its name, nil for none, and why no point of a namespace
// is written to it.
func (c *Controller) targetUse(ctx context.Context, name, namespace string) (*v1alpha1.BackupTarget, []rules.Refusal, error) {
	t, err := c.target(ctx, name)
	if err != nil || t == nil {
		return t, nil, err
	}
	var all v1alpha1.BackupTargetList
	if err := c.cache.List(ctx, &all); err != nil {
		return nil, nil, fmt.Errorf("listing the other targets: %w", err)
	}
	labels, err := c.labelsOf(ctx, t, namespace)
	if err != nil {
		return nil, nil, err
	}
	return t, append(rules.Target(t, all.Items), rules.TargetUse(t, namespace, labels)...), nil
}

// labelsOf are the labels of a namespace, read live where a target's selector
// looks at them.
func (c *Controller) labelsOf(ctx context.Context, t *v1alpha1.BackupTarget, namespace string) (map[string]string, error) {
	if a := t.Spec.AllowedNamespaces; a == nil || a.Selector == nil {
		return nil, nil
	}
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err := c.live.Get(ctx, client.ObjectKey{Name: namespace}, o)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading the labels of namespace %s: %w", namespace, err)
	}
	return o.Labels, nil
}

// asMade is the generation of what was never changed.
const asMade = 1

// noteChange keeps when a target's spec was changed.
func noteChange(t *v1alpha1.BackupTarget, st *v1alpha1.BackupTargetStatus, now time.Time) {
	if st.ObservedGeneration != t.Generation && t.Generation != asMade {
		at := metav1.NewTime(now)
		st.ChangedTime = &at
	}
	st.ObservedGeneration = t.Generation
}

// changedAt is when a target was last made or changed; a change that nobody has taken
// note of is one of now. It may be told too late, and never too early.
func changedAt(t *v1alpha1.BackupTarget, now time.Time) time.Time {
	switch {
	case t.Status.ObservedGeneration != t.Generation && t.Generation != asMade:
		return now
	case t.Status.ChangedTime != nil:
		return t.Status.ChangedTime.Time
	}
	return t.CreationTimestamp.Time
}

// elsewhere are backups of a point's volumes to other targets, or to what its own
// was before it was changed, that replicas may still be at work on.
func (c *Controller) elsewhere(b *v1alpha1.VMBackup, t *v1alpha1.BackupTarget) (map[string][]string, error) {
	all, err := c.points.OfVM(b.Namespace, b.Spec.VM)
	if err != nil || t == nil {
		return nil, err
	}
	now := time.Now()
	return plan.Elsewhere(b, all, changedAt(t, now), now), nil
}
