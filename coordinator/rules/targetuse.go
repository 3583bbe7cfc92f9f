package rules

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TargetUse are the reasons why no new point of a namespace is written to a
// target. namespace are the labels of that namespace.
func TargetUse(t *v1alpha1.BackupTarget, name string, namespace map[string]string) []Refusal {
	switch {
	case t.Spec.ReadOnly:
		return []Refusal{refusal(TargetReadOnly, "BackupTarget %q (spec.target) is only read (its spec.readOnly): name another", t.Name)}
	case !Allowed(t, name, namespace):
		return []Refusal{refusal(TargetNotAllowed, "BackupTarget %q (spec.target) takes no points of namespace %s (its spec.allowedNamespaces): name another, or have the namespace allowed", t.Name, name)}
	}
	return nil
}

// Allowed tells whether points of a namespace may be on a target. A selector that
// cannot be read picks nothing.
func Allowed(t *v1alpha1.BackupTarget, name string, namespace map[string]string) bool {
	a := t.Spec.AllowedNamespaces
	if a == nil || slices.Contains(a.Names, name) {
		return true
	}
	if a.Selector == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(a.Selector)
	return err == nil && selector.Matches(labels.Set(namespace))
}

// NotAllowed says why points of a namespace that are on a target are not made.
func NotAllowed(t *v1alpha1.BackupTarget) string {
	return fmt.Sprintf("BackupTarget %s does not allow it (spec.allowedNamespaces)", t.Name)
}
