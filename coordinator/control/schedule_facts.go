package control

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// ScheduleFacts are read live for a VMSchedule that is to be created or changed.
func (c *Controller) ScheduleFacts(ctx context.Context, s *v1alpha1.VMSchedule) (f rules.ScheduleFacts, err error) {
	f.Schedule = s
	if f.Others, err = c.otherSchedules(ctx, c.live, s); err != nil {
		return f, err
	}
	if f.Target, f.Uses, err = c.targetUse(ctx, s.Spec.Target, s.Namespace); err != nil {
		return f, err
	}
	vms, err := c.vmsOf(ctx, s)
	if err != nil {
		return f, err
	}
	f.VMs = vms.Names
	return f, nil
}

// otherSchedules are those of the same namespace: those of other tenants neither
// hinder this one nor are they named to its user.
func (c *Controller) otherSchedules(ctx context.Context, from client.Reader, s *v1alpha1.VMSchedule) ([]v1alpha1.VMSchedule, error) {
	var list v1alpha1.VMScheduleList
	if err := from.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return nil, fmt.Errorf("listing the VMSchedules of namespace %s: %w", s.Namespace, err)
	}
	return slices.DeleteFunc(list.Items, func(o v1alpha1.VMSchedule) bool {
		return o.Name == s.Name || !o.DeletionTimestamp.IsZero()
	}), nil
}

// checkSchedule asks the rules where no webhook has. Of two schedules that are
// too close to each other the older one runs.
func (c *Controller) checkSchedule(ctx context.Context, s *v1alpha1.VMSchedule) (*runs.Checked, error) {
	others, err := c.otherSchedules(ctx, c.cache, s)
	if err != nil {
		return nil, err
	}
	older := slices.DeleteFunc(others, func(o v1alpha1.VMSchedule) bool {
		d := o.CreationTimestamp.Compare(s.CreationTimestamp.Time)
		return d > 0 || d == 0 && o.Name > s.Name
	})
	out := &runs.Checked{}
	for _, refusal := range rules.Timing(s, older) {
		out.Refusals = append(out.Refusals, refusal.Sentence)
	}
	_, uses, err := c.targetUse(ctx, s.Spec.Target, s.Namespace)
	if err != nil {
		return nil, err
	}
	for _, refusal := range uses {
		out.Refusals = append(out.Refusals, refusal.Sentence)
	}
	return out, nil
}

// pointsOf are the points that a schedule made and that exist. Those from a cache
// are shared with it.
func (c *Controller) pointsOf(ctx context.Context, from client.Reader, s *v1alpha1.VMSchedule) ([]v1alpha1.VMBackup, error) {
	if from == c.cache {
		all, err := c.points.OfSchedule(string(s.UID))
		out := make([]v1alpha1.VMBackup, 0, len(all))
		for _, b := range all {
			if b.Namespace == s.Namespace {
				out = append(out, *b)
			}
		}
		return out, err
	}
	var list v1alpha1.VMBackupList
	if err := from.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{v1alpha1.LabelSchedule: string(s.UID)}); err != nil {
		return nil, fmt.Errorf("listing its points: %w", err)
	}
	return list.Items, nil
}

// readersOf are the unfinished VMRestores of points, in any namespace.
func (c *Controller) readersOf(ctx context.Context, from client.Reader, points []v1alpha1.VMBackup) (map[types.UID][]string, error) {
	if len(points) == 0 {
		return nil, nil
	}
	var list v1alpha1.VMRestoreList
	var how []client.ListOption
	if from == c.cache {
		how = append(how, client.UnsafeDisableDeepCopy)
	}
	if err := from.List(ctx, &list, how...); err != nil {
		return nil, fmt.Errorf("listing the VMRestores that may read its points: %w", err)
	}
	var unfinished []v1alpha1.VMRestore // the list may be the cache's own
	for i := range list.Items {
		if !status.RestoreEnded(&list.Items[i]) {
			unfinished = append(unfinished, list.Items[i])
		}
	}
	if len(unfinished) == 0 {
		return nil, nil
	}
	out := map[types.UID][]string{}
	for i := range points {
		if readers := status.Readers(&points[i], unfinished); len(readers) > 0 {
			out[points[i].UID] = readers
		}
	}
	return out, nil
}

// vmsOf are the VMs of a schedule that exist now. One that the cache shows exists, or
// did a moment ago; one that it does not show is asked for. What a selector picks is
// read live: the cache knows no labels of VMs.
func (c *Controller) vmsOf(ctx context.Context, s *v1alpha1.VMSchedule) (*runs.VMs, error) {
	out := &runs.VMs{}
	if s.Spec.Selector == nil {
		vm := virtualMachines()
		err := c.cache.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.Spec.VM}, vm, client.UnsafeDisableDeepCopy)
		if err != nil {
			if vm, _, err = c.lookFor(ctx, kindVM, s.Namespace, s.Spec.VM); err != nil {
				return nil, err
			}
		}
		if vm != nil && vm.DeletionTimestamp.IsZero() {
			out.Names = []string{vm.Name}
		}
		return out, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
	if err != nil {
		return out, nil // which the rules refuse
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kindVM)
	if err := c.live.List(ctx, list, client.InNamespace(s.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("listing the VMs that spec.selector picks: %w", err)
	}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp.IsZero() {
			out.Names = append(out.Names, list.Items[i].Name)
		}
	}
	slices.Sort(out.Names)
	return out, nil
}
