package attach

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Guest names a VM. Its instance has the same name, and exists from the moment
// at which the VM is to start.
type Guest struct{ Namespace, Name string }

var (
	kindInstance     = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachineInstance"}
	kindInstanceList = kindInstance.GroupVersion().WithKind("VirtualMachineInstanceList")
)

// starting says of a VM that is about to start that it is; "" otherwise.
//
// While a migratable volume is neither attached nor detached, Longhorn refuses a
// second ticket, so the wish of a workload cannot be seen on the attachment. It
// can be seen here, some seconds earlier.
func (a *Attacher) starting(ctx context.Context, g Guest) (string, error) {
	if g.Name == "" {
		return "", nil
	}
	vmi := &unstructured.Unstructured{}
	vmi.SetGroupVersionKind(kindInstance)
	err := a.Client.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: g.Name}, vmi)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading VirtualMachineInstance %s/%s: %w", g.Namespace, g.Name, err)
	case !starts(vmi):
		return "", nil
	}
	return g.words(), nil
}

// StartedSince tells whether the VM's instance was made after a moment, both by
// the API server's clock, to its second.
func (a *Attacher) StartedSince(ctx context.Context, g Guest, since metav1.Time) (bool, error) {
	vmi := &metav1.PartialObjectMetadata{}
	vmi.SetGroupVersionKind(kindInstance)
	err := a.Client.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: g.Name}, vmi)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reading VirtualMachineInstance %s/%s: %w", g.Namespace, g.Name, err)
	}
	return vmi.CreationTimestamp.After(since.Time), nil
}

func (g Guest) words() string { return fmt.Sprintf("VM %s/%s, which is starting", g.Namespace, g.Name) }

// awaitStart returns when the VM is about to start, or ctx ends.
func (a *Attacher) awaitStart(ctx context.Context, g Guest) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kindInstanceList)
	for {
		opts := []client.ListOption{client.InNamespace(g.Namespace), named(g.Name)}
		ok, err := a.watchOnce(ctx, list, "", opts, func(kind watch.EventType, o client.Object) (bool, error) {
			u, ok := o.(*unstructured.Unstructured)
			return ok && kind != watch.Deleted && starts(u), nil
		})
		if ok || meta.IsNoMatchError(err) {
			return err
		}
		if err := rest(ctx); err != nil {
			return err
		}
	}
}

// starts: the instance is on its way up and its volumes may not be attached
// yet. One that runs has tickets on the volumes that it uses; one that no node
// has room for asks for none.
func starts(vmi *unstructured.Unstructured) bool {
	if vmi.GetDeletionTimestamp() != nil {
		return false
	}
	switch phase, _, _ := unstructured.NestedString(vmi.Object, "status", "phase"); phase {
	case "", "Pending", "Scheduling":
	default:
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(vmi.Object, "status", "conditions")
	for _, c := range conditions {
		m, ok := c.(map[string]any)
		if ok && m["type"] == "PodScheduled" && m["status"] == "False" && m["reason"] == "Unschedulable" {
			return false
		}
	}
	return true
}
