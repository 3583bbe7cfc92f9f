package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// backups answers for VMBackups.
type backups struct{ Options }

func (w *backups) ValidateCreate(ctx context.Context, obj runtime.Object) (admission.Warnings, error) {
	b := obj.(*v1alpha1.VMBackup)
	if b.Spec.Found != nil {
		return nil, nil // nothing is backed up for it; who may make it is a policy
	}
	facts, err := w.Facts.BackupFacts(ctx, b)
	if err != nil {
		return nil, w.unknown(b, err)
	}
	var warnings admission.Warnings
	if facts.Source != nil {
		warnings = facts.Source.Warnings
	}
	return warnings, w.create(ctx, b, rules.Backup(facts))
}

// ValidateUpdate has nothing to say: what may not change is in the schema.
func (w *backups) ValidateUpdate(context.Context, runtime.Object, runtime.Object) (admission.Warnings, error) {
	return nil, nil
}

func (w *backups) ValidateDelete(ctx context.Context, obj runtime.Object) (admission.Warnings, error) {
	b := obj.(*v1alpha1.VMBackup)
	if !b.DeletionTimestamp.IsZero() {
		return nil, nil // it was accepted before
	}
	readers, err := w.Facts.Readers(ctx, b)
	if err != nil {
		return nil, w.unknown(b, err)
	}
	target, err := w.Facts.TargetOf(ctx, b)
	if err != nil {
		return nil, w.unknown(b, err)
	}
	return nil, answer(rules.BackupDeletion(b, target, readers))
}

// restores answers for VMRestores.
type restores struct{ Options }

func (w *restores) ValidateCreate(ctx context.Context, obj runtime.Object) (admission.Warnings, error) {
	s := obj.(*v1alpha1.VMRestore)
	facts, err := w.Facts.RestoreFacts(ctx, s)
	if err != nil {
		return nil, w.unknown(s, err)
	}
	return nil, w.create(ctx, s, rules.Restore(facts))
}

// ValidateUpdate has nothing to say: what may not change is in the schema.
func (w *restores) ValidateUpdate(context.Context, runtime.Object, runtime.Object) (admission.Warnings, error) {
	return nil, nil
}

// ValidateDelete is not asked: a restore may be given up at any moment.
func (w *restores) ValidateDelete(context.Context, runtime.Object) (admission.Warnings, error) {
	return nil, nil
}

// quotas answers for SnapshotQuotas.
type quotas struct{}

func (quotas) ValidateCreate(_ context.Context, obj runtime.Object) (admission.Warnings, error) {
	return nil, answer(rules.Quota(obj.(*v1alpha1.SnapshotQuota)))
}

func (quotas) ValidateUpdate(_ context.Context, _, obj runtime.Object) (admission.Warnings, error) {
	return nil, answer(rules.Quota(obj.(*v1alpha1.SnapshotQuota)))
}

// ValidateDelete is not asked: a limit may be lifted at any moment.
func (quotas) ValidateDelete(context.Context, runtime.Object) (admission.Warnings, error) {
	return nil, nil
}
