package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
)

// ofVMs are the kinds whose objects are of VMs.
var ofVMs = []string{"backup", "restore", "schedule"}

// filter says which objects of a kind are wanted.
type filter struct {
	labels labels.Selector // nil: any
	vm     string          // "": any
	// text of labels, as it was given.
	text string
}

func newFilter(c *cobra.Command, k kinds.Kind, selector, vm string) (filter, error) {
	f := filter{vm: vm, text: selector}
	if c.Flags().Changed("selector") {
		parsed, err := labels.Parse(selector)
		if err != nil {
			return f, usage(c, "--selector %q: %v", selector, err)
		}
		f.labels = parsed
	}
	if c.Flags().Changed("vm") {
		if !slices.Contains(ofVMs, k.Word) {
			return f, usage(c, "--vm is for backups, restores and schedules only")
		}
		if err := checkName(c, "the name of a VM", vm); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f filter) any() bool { return f.labels != nil || f.vm != "" }

// String ends a sentence on what was looked for.
func (f filter) String() string {
	out := ""
	if f.vm != "" {
		out = " of VM " + f.vm
	}
	if f.labels != nil {
		out += fmt.Sprintf(" with labels %s", f.text)
	}
	return out
}

// listed is what is wanted, oldest first.
func (f filter) listed(ctx context.Context, cluster *kube.Cluster, k kinds.Kind, namespace string) ([]client.Object, error) {
	var which []client.ListOption
	if f.labels != nil {
		which = append(which, client.MatchingLabelsSelector{Selector: f.labels})
	}
	found, err := listed(ctx, cluster, k, namespace, which...)
	if err != nil || f.vm == "" {
		return found, err
	}
	vms := map[string]labels.Labels{} // namespace -> labels of its VM of that name, nil for none
	var out []client.Object
	for _, o := range found {
		yes, err := f.of(ctx, cluster, o, vms)
		if err != nil {
			return nil, err
		}
		if yes {
			out = append(out, o)
		}
	}
	return out, nil
}

// of tells whether an object is of the VM. What a schedule picks by labels, the VM's
// own say.
func (f filter) of(ctx context.Context, cluster *kube.Cluster, o client.Object, vms map[string]labels.Labels) (bool, error) {
	s, ok := o.(*v1alpha1.VMSchedule)
	if !ok || s.Spec.Selector == nil {
		return vmOf(o) == f.vm, nil
	}
	picks, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
	if err != nil {
		return false, fmt.Errorf("reading spec.selector of schedule %s: %w", s.Name, err)
	}
	own, known := vms[s.Namespace]
	if !known {
		vm := &metav1.PartialObjectMetadata{}
		vm.SetGroupVersionKind(kinds.VMKind)
		err := cluster.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: f.vm}, vm)
		if err == nil {
			own = labels.Set(vm.Labels)
		} else if !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("reading the labels of VM %s/%s, by which schedule %s may pick it: %w", s.Namespace, f.vm, s.Name, err)
		}
		vms[s.Namespace] = own
	}
	return own != nil && picks.Matches(own), nil
}

// vmOf is the VM that an object names, "" for none: that which a backup is of, which a
// restore makes or replaces, or which a schedule has backed up.
func vmOf(o client.Object) string {
	switch o := o.(type) {
	case *v1alpha1.VMBackup:
		return o.Spec.VM
	case *v1alpha1.VMRestore:
		if o.Spec.Replace != nil {
			return o.Spec.Replace.VM
		}
		return o.Spec.NewVM
	case *v1alpha1.VMSchedule:
		return o.Spec.VM
	}
	return ""
}

// completeVMs are the VMs that objects of the kind are of.
func (a *app) completeVMs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if len(args) == 0 {
		return nil, none
	}
	k, ok := kinds.Find(args[0])
	if !ok || !slices.Contains(ofVMs, k.Word) {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
	defer cancel()
	cluster, err := a.flags.Open(io.Discard)
	if err != nil {
		return nil, none
	}
	namespace := cluster.Namespace
	if all, err := c.Flags().GetBool("all-namespaces"); err == nil && all {
		namespace = ""
	}
	found, err := listed(ctx, cluster, k, namespace)
	if err != nil {
		return nil, none
	}
	var out []string
	for _, o := range found {
		if vm := vmOf(o); vm != "" {
			out = append(out, vm)
		}
	}
	slices.SortFunc(out, strings.Compare)
	return slices.Compact(out), none
}
