package kubevirt

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	virt "kubevirt.io/api/core/v1"
	"kubevirt.io/api/instancetype"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// matcher is an instance type or a preference that a VM names.
type matcher struct {
	kind, name, revision string
	reason               string // why the VM does not start when it is missing
}

// findInstancetypes looks for what the VM names. A missing one is the VM's failure, not an error.
func findInstancetypes(ctx context.Context, c client.Reader, vm *virt.VirtualMachine) (*syncError, error) {
	for _, m := range matchers(vm) {
		err := m.find(ctx, c, vm.Namespace)
		if apierrors.IsNotFound(err) {
			return &syncError{m.reason, err}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("looking for %s %s: %w", m.kind, m.name, err)
		}
	}
	return nil, nil
}

func matchers(vm *virt.VirtualMachine) []matcher {
	var all []matcher
	if it := vm.Spec.Instancetype; it != nil {
		m := matcher{kind: it.Kind, name: it.Name, revision: it.RevisionName, reason: "FailedFindInstancetype"}
		m.complete("VirtualMachineClusterInstancetype", vm.Status.InstancetypeRef)
		all = append(all, m)
	}
	if p := vm.Spec.Preference; p != nil {
		m := matcher{kind: p.Kind, name: p.Name, revision: p.RevisionName, reason: "FailedFindPreference"}
		m.complete("VirtualMachineClusterPreference", vm.Status.PreferenceRef)
		all = append(all, m)
	}
	return all
}

// complete fills in the default kind and, when the spec names no revision, the one that is in the VM's status.
func (m *matcher) complete(defaultKind string, status *virt.InstancetypeStatusRef) {
	if m.kind == "" {
		m.kind = defaultKind
	}
	if m.revision == "" && status != nil && status.ControllerRevisionRef != nil {
		m.revision = status.ControllerRevisionRef.Name
	}
}

// find gets the revision, if one is named, or else the object itself.
func (m matcher) find(ctx context.Context, c client.Reader, namespace string) error {
	if m.revision != "" {
		return c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: m.revision}, &appsv1.ControllerRevision{})
	}
	var object unstructured.Unstructured
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: instancetype.GroupName, Version: "v1beta1", Kind: m.kind})
	switch m.kind {
	case "VirtualMachineClusterInstancetype", "VirtualMachineClusterPreference":
		namespace = ""
	}
	return c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: m.name}, &object)
}
