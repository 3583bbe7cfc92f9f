package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// schedules answers for VMSchedules.
type schedules struct{ Options }

func (w *schedules) ValidateCreate(ctx context.Context, obj runtime.Object) (admission.Warnings, error) {
	s := obj.(*v1alpha1.VMSchedule)
	facts, err := w.Facts.ScheduleFacts(ctx, s)
	if err != nil {
		return nil, w.unknown(s, err)
	}
	refusals, warnings := rules.Schedule(facts)
	return warnings, w.create(ctx, s, refusals)
}

func (w *schedules) ValidateUpdate(ctx context.Context, before, now runtime.Object) (admission.Warnings, error) {
	was, s := before.(*v1alpha1.VMSchedule), now.(*v1alpha1.VMSchedule)
	warnings := rules.ScheduleStays(was, s)
	if equality.Semantic.DeepEqual(was.Spec, s.Spec) || !s.DeletionTimestamp.IsZero() {
		return warnings, nil
	}
	facts, err := w.Facts.ScheduleFacts(ctx, s)
	if err != nil {
		return nil, w.unknown(s, err)
	}
	return warnings, answer(rules.ScheduleChange(was, facts))
}

// ValidateDelete is not asked: a schedule may be ended at any moment.
func (w *schedules) ValidateDelete(context.Context, runtime.Object) (admission.Warnings, error) {
	return nil, nil
}
