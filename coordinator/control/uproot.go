package control

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hayloft.dev/pkg/api/v1alpha1"
)

var (
	kindNamespace  = corev1.SchemeGroupVersion.WithKind("Namespace")
	kindDefinition = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
)

// pointsDefinition is the CustomResourceDefinition of VMBackups.
var pointsDefinition = "vmbackups." + v1alpha1.GroupVersion.Group

// goesWith names what is being deleted around a point that is being deleted, ""
// for nothing. Both are marked before the API server deletes what is in them, so
// a live look after the point was marked cannot miss them.
func (c *Controller) goesWith(ctx context.Context, b *v1alpha1.VMBackup) (string, error) {
	for _, around := range []struct {
		kind       schema.GroupVersionKind
		name, word string
	}{
		{kindNamespace, b.Namespace, "namespace "},
		{kindDefinition, pointsDefinition, "CustomResourceDefinition "},
	} {
		o, _, err := c.lookFor(ctx, around.kind, "", around.name)
		switch {
		case err != nil:
			return "", fmt.Errorf("looking whether more than the point is being deleted: %w", err)
		case o == nil || !o.DeletionTimestamp.IsZero():
			return around.word + around.name, nil
		}
	}
	return "", nil
}
