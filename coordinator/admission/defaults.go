package admission

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// defaults names the default target in what names none. It does so before the
// object is there, so that all who look at it see one target, the policies on the
// right to use it among them, and the default may change later.
type defaults struct{ Options }

// Default fills in a VMBackup or VMSchedule, and in a VMRestore that its images are
// made again. Without a default target it is left
// as it is, and the schema refuses it.
func (w *defaults) Default(ctx context.Context, obj runtime.Object) error {
	var kind v1alpha1.BackupType
	var target *string
	switch o := obj.(type) {
	case *v1alpha1.VMRestore:
		// It is asked only for those who may create images.
		if o.Spec.Images == "" {
			o.Spec.Images = v1alpha1.ImagesRecreate
		}
		return nil
	case *v1alpha1.VMBackup:
		kind, target = o.Spec.Type, &o.Spec.Target
	case *v1alpha1.VMSchedule:
		kind, target = o.Spec.Type, &o.Spec.Target
	default:
		return fmt.Errorf("there is no default for %T", obj)
	}
	if kind == v1alpha1.TypeSnapshot || *target != "" {
		return nil
	}
	all, err := w.Facts.AllTargets(ctx)
	if err != nil {
		return fmt.Errorf("the default target could not be looked up (%w): name one in spec.target, or try again", err)
	}
	t, refusals := rules.DefaultTarget(all)
	if len(refusals) > 0 {
		return answer(refusals)
	}
	if t != nil {
		*target = t.Name
	}
	return nil
}
