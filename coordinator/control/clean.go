package control

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// clean removes what a restore made, and tells how much was still there. It
// goes by live listings with the restore's label, and deletes exactly the
// objects that were listed.
func (r *restores) clean(ctx context.Context, s *v1alpha1.VMRestore) (left int, err error) {
	if s.UID == "" {
		return 0, fmt.Errorf("a VMRestore without a UID is nobody's owner")
	}
	if mine, err := r.fence(ctx, s); err != nil || mine {
		return 1, err
	}
	label := client.MatchingLabels{v1alpha1.LabelRestore: string(s.UID)}
	for _, k := range []struct {
		kind      schema.GroupVersionKind
		namespace string
	}{
		{kindVM, s.Namespace},
		{kindClaim, s.Namespace},
		{corev1.SchemeGroupVersion.WithKind("PersistentVolume"), ""},
		{plan.KindVolume, r.LonghornNamespace},
	} {
		if k.kind == kindVM && s.Spec.NewVM == "" {
			continue // it made none
		}
		n, err := r.cleanKind(ctx, k.kind, k.namespace, label)
		if err != nil {
			return left, err
		}
		left += n
	}
	if len(s.Status.Disks) == 0 {
		return left, nil // no Secret is made before every disk is restored
	}
	// By collection, which needs no right to list Secrets.
	for _, o := range []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}} {
		if err := r.client.DeleteAllOf(ctx, o, client.InNamespace(s.Namespace), label); err != nil {
			return left, fmt.Errorf("removing the %Ts of the restore: %w", o, err)
		}
	}
	if left == 0 {
		err = r.unfence(ctx, s)
	}
	return left, err
}

// removeCopies removes the Secrets and ConfigMaps that a restore made, but for
// those that a VM or an instance of the namespace refers to. By collection, as in
// clean.
func (r *restores) removeCopies(ctx context.Context, namespace string, restore types.UID) error {
	secrets, configMaps := map[string]bool{}, map[string]bool{}
	err := r.eachShape(ctx, namespace, func(_ string, vm *unstructured.Unstructured) {
		vmspec.AddReferences(vm, secrets, configMaps)
	})
	if err != nil {
		return err
	}
	for _, k := range []struct {
		kind  client.Object
		stays map[string]bool
	}{{&corev1.Secret{}, secrets}, {&corev1.ConfigMap{}, configMaps}} {
		var goes []fields.Selector
		for name := range k.stays {
			goes = append(goes, fields.OneTermNotEqualSelector("metadata.name", name))
		}
		err := r.client.DeleteAllOf(ctx, k.kind, client.InNamespace(namespace),
			client.MatchingLabels{v1alpha1.LabelRestore: string(restore)}, client.MatchingFieldsSelector{Selector: fields.AndSelectors(goes...)})
		if err != nil {
			return fmt.Errorf("removing the %Ts of the former restore: %w", k.kind, err)
		}
	}
	return nil
}

func (r *restores) cleanKind(ctx context.Context, kind schema.GroupVersionKind, namespace string, label client.MatchingLabels) (int, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	err := r.live.List(ctx, list, client.InNamespace(namespace), label)
	if meta.IsNoMatchError(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("listing what is left of kind %s: %w", kind.Kind, err)
	}
	background := metav1.DeletePropagationBackground
	for i := range list.Items {
		o := &list.Items[i]
		o.SetGroupVersionKind(kind)
		if !o.DeletionTimestamp.IsZero() {
			continue
		}
		err := r.client.Delete(ctx, o, client.Preconditions{UID: &o.UID}, client.PropagationPolicy(background))
		if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return 0, fmt.Errorf("removing %s %s: %w", kind.Kind, o.Name, err)
		}
	}
	return len(list.Items), nil
}
