package admission

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// cannotCheck is the reason of a refusal for which the facts could not be read.
const cannotCheck = "CannotCheck"

// observed tells an Observer how another validator answers.
type observed struct {
	kind string
	by   Observer
	next admission.CustomValidator
}

func (o *observed) ValidateCreate(ctx context.Context, obj runtime.Object) (admission.Warnings, error) {
	began := time.Now()
	warnings, err := o.next.ValidateCreate(ctx, obj)
	o.tell("create", err, began)
	return warnings, err
}

func (o *observed) ValidateUpdate(ctx context.Context, before, now runtime.Object) (admission.Warnings, error) {
	began := time.Now()
	warnings, err := o.next.ValidateUpdate(ctx, before, now)
	o.tell("update", err, began)
	return warnings, err
}

func (o *observed) ValidateDelete(ctx context.Context, obj runtime.Object) (admission.Warnings, error) {
	began := time.Now()
	warnings, err := o.next.ValidateDelete(ctx, obj)
	o.tell("delete", err, began)
	return warnings, err
}

func (o *observed) tell(operation string, err error, began time.Time) {
	o.by.Answered(o.kind, operation, reasons(err), time.Since(began))
}

// reasons of a refusal, each once; none for what was let in.
func reasons(err error) []string {
	if err == nil {
		return nil
	}
	var r *refused
	if !errors.As(err, &r) {
		return []string{cannotCheck}
	}
	var out []string
	seen := map[string]bool{}
	for _, refusal := range r.refusals {
		if !seen[refusal.Reason] {
			seen[refusal.Reason] = true
			out = append(out, refusal.Reason)
		}
	}
	return out
}
