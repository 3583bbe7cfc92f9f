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

// The CustomResourceDefinitions whose objects would take data along.
var (
	pointsDefinition    = "vmbackups." + v1alpha1.GroupVersion.Group
	schedulesDefinition = "vmschedules." + v1alpha1.GroupVersion.Group
)

// goesWith names what is being deleted around an object that is being deleted,
// its namespace or its definition; "" for nothing. Both are marked before the API
// server deletes what is in them, so a live look after the object was marked
// cannot miss them.
func (c *Controller) goesWith(ctx context.Context, namespace, definition string) (string, error) {
	for _, around := range []struct {
		kind       schema.GroupVersionKind
		name, word string
	}{
		{kindNamespace, namespace, "namespace "},
		{kindDefinition, definition, "CustomResourceDefinition "},
	} {
		o, _, err := c.lookFor(ctx, around.kind, "", around.name)
		switch {
		case err != nil:
			return "", fmt.Errorf("looking whether more than the object is being deleted: %w", err)
		case o == nil || !o.DeletionTimestamp.IsZero():
			return around.word + around.name, nil
		}
	}
	return "", nil
}
