package control

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
)

// create makes objects. One that is there already, or that the API server (a
// quota, a webhook) refuses, is left for the next plan to judge.
func (r *restores) create(ctx context.Context, s *v1alpha1.VMRestore, objects []client.Object) (made bool, err error) {
	for _, o := range objects {
		if o.GetObjectKind().GroupVersionKind() == plan.KindVolume {
			o.SetNamespace(r.LonghornNamespace)
		}
		err := r.client.Create(ctx, o)
		switch {
		case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
			r.refused.put(s.UID, fmt.Sprintf("%s: %v", describe(o), err))
			return true, nil
		case err != nil && !apierrors.IsAlreadyExists(err):
			return made, fmt.Errorf("making %s: %w", describe(o), err)
		}
		r.Log.Info("made for restore", "object", describe(o), "vmrestore", s.Namespace+"/"+s.Name)
		made = true
	}
	return made, nil
}

func describe(o client.Object) string {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if kind == "" {
		kind = fmt.Sprintf("%T", o)
	}
	return kind + " " + o.GetName()
}

// annotationTouched says when a claim was last touched.
const annotationTouched = "hayloft.dev/touched"

// touched is when a claim was last touched; zero where it was not, or where that
// cannot be read.
func touched(claim *corev1.PersistentVolumeClaim) time.Time {
	at, err := time.Parse(time.RFC3339Nano, claim.Annotations[annotationTouched])
	if err != nil {
		return time.Time{}
	}
	return at
}

// touch changes a claim, if it is still that one, in a way that means nothing.
func (r *restores) touch(ctx context.Context, namespace, name string, uid types.UID) error {
	body := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, uid, annotationTouched, time.Now().UTC().Format(time.RFC3339Nano))
	claim := &corev1.PersistentVolumeClaim{}
	claim.Namespace, claim.Name = namespace, name
	err := r.client.Patch(ctx, claim, client.RawPatch(types.MergePatchType, []byte(body)))
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("touching claim %s: %w", name, err)
	}
	return nil
}
