package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// kindDataVolume is CDI's; a claim that it made goes and comes with it.
var kindDataVolume = schema.GroupVersionKind{Group: "cdi.kubevirt.io", Version: "v1beta1", Kind: "DataVolume"}

// replace carries out what concerns the VM that is replaced.
func (r *restores) replace(ctx context.Context, s *v1alpha1.VMRestore, v plan.RestoreView, in plan.RestoreIntent) (changed bool, err error) {
	if in.Swap != nil {
		if changed, err = r.swap(ctx, s, v, in.Swap); err != nil {
			return false, err
		}
	}
	for _, f := range in.Release {
		if err := r.release(ctx, s, v.Replaced.UID, f); err != nil {
			return false, err
		}
		changed = true
	}
	if in.LabelState != "" {
		claim := &corev1.PersistentVolumeClaim{}
		claim.Namespace, claim.Name = s.Namespace, in.LabelState
		label := map[string]any{vmspec.LabelPersistentState: s.Spec.Replace.VM}
		if err := r.patch(ctx, claim, map[string]any{"metadata": map[string]any{"labels": label}}); err != nil {
			return false, err
		}
		changed = true
	}
	if in.SetStrategy != "" {
		if err := r.setStrategy(ctx, v.Replaced.Object, in.SetStrategy); err != nil {
			return false, err
		}
		changed = true
	}
	for _, p := range in.DeletePoints {
		b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: p.Name}}
		if err := r.remove(ctx, b, p.UID); err != nil {
			return false, err
		}
	}
	for _, f := range in.DeleteClaims {
		if err := r.deleteClaim(ctx, s, f); err != nil {
			return false, err
		}
		changed = true
	}
	if in.RemoveCopies != "" {
		if err := r.removeCopies(ctx, s.Namespace, in.RemoveCopies); err != nil {
			return false, err
		}
		r.copies.put(s.UID, true)
		changed = true
	}
	return changed, nil
}

// swap writes the restored VM over the one that was looked at. The API server
// refuses it when that one was changed since, or is another by now.
func (r *restores) swap(ctx context.Context, s *v1alpha1.VMRestore, v plan.RestoreView, sw *plan.Swap) (bool, error) {
	vm := v.Origin.Rebuilt.VM.DeepCopy()
	if vm.GetUID() != sw.VM || vm.GetResourceVersion() == "" || !owned(vm, s.UID) {
		return false, fmt.Errorf("VM %s was rebuilt from another one than it replaces", vm.GetName())
	}
	err := r.client.Update(ctx, vm)
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) {
		r.refused.put(s.UID, fmt.Sprintf("VirtualMachine %s: %v", vm.GetName(), err))
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("giving VM %s its restored disks: %w", vm.GetName(), err)
	}
	r.Log.Info("replaced", "vm", s.Namespace+"/"+vm.GetName(), "vmrestore", s.Namespace+"/"+s.Name)
	return true, nil
}

// setStrategy starts the VM in the way that it is meant to run, unless somebody
// has decided otherwise since it was halted.
func (r *restores) setStrategy(ctx context.Context, vm *unstructured.Unstructured, strategy string) error {
	change := map[string]any{"metadata": map[string]any{
		"uid": vm.GetUID(), "resourceVersion": vm.GetResourceVersion(),
		"annotations": map[string]any{vmspec.AnnotationRunStrategy: nil},
	}}
	if now, _, _ := unstructured.NestedString(vm.Object, "spec", "runStrategy"); now == "Halted" {
		change["spec"] = map[string]any{"runStrategy": strategy}
	}
	return r.patch(ctx, vm.DeepCopy(), change)
}

// letGo is what a former claim still has to lose.
type letGo struct {
	labels     map[string]any // as in a merge patch
	owners     []metav1.OwnerReference
	ownersGo   bool
	dataVolume *unstructured.Unstructured // CDI's object over the claim, which the VM still owns
}

func (l letGo) nothing() bool { return len(l.labels) == 0 && !l.ownersGo && l.dataVolume == nil }

// releasing tells what ties a former claim to the VM: labels, and owners that
// would take the claim along when the VM is deleted.
func (r *restores) releasing(ctx context.Context, c *corev1.PersistentVolumeClaim, vmUID types.UID, vm, disk string) (letGo, error) {
	out := letGo{labels: map[string]any{}}
	want := vmspec.FormerLabels(c.Labels, vm, disk)
	for k, v := range want {
		if c.Labels[k] != v {
			out.labels[k] = v
		}
	}
	for k := range c.Labels {
		if _, stays := want[k]; !stays {
			out.labels[k] = nil
		}
	}
	for _, o := range c.OwnerReferences {
		if o.UID == vmUID {
			out.ownersGo = true
			continue
		}
		if o.Kind == kindDataVolume.Kind && strings.HasPrefix(o.APIVersion, kindDataVolume.Group+"/") {
			dv, err := r.read(ctx, kindDataVolume, c.Namespace, o.Name)
			switch {
			case err != nil:
				return out, err
			case dv == nil || dv.GetUID() != o.UID:
				out.ownersGo = true
				continue
			case slices.ContainsFunc(dv.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == vmUID }):
				out.dataVolume = dv
			}
		}
		out.owners = append(out.owners, o)
	}
	return out, nil
}

func (r *restores) release(ctx context.Context, s *v1alpha1.VMRestore, vmUID types.UID, f v1alpha1.FormerClaim) error {
	c := &corev1.PersistentVolumeClaim{}
	ok, err := getFrom(ctx, r.live, s.Namespace, f.Claim, c)
	if err != nil || !ok || c.UID != f.UID {
		return err
	}
	change, err := r.releasing(ctx, c, vmUID, s.Spec.Replace.VM, f.Disk)
	if err != nil {
		return err
	}
	if dv := change.dataVolume; dv != nil {
		owners := slices.DeleteFunc(dv.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.UID == vmUID })
		if err := r.patch(ctx, dv, ownersPatch(dv, owners)); err != nil {
			return err
		}
	}
	body := ownersPatch(c, change.owners)
	if !change.ownersGo {
		delete(body["metadata"].(map[string]any), "ownerReferences")
	}
	maps.Copy(body["metadata"].(map[string]any), map[string]any{"labels": change.labels})
	return r.patch(ctx, c, body)
}

// ownersPatch replaces the whole list of owners, so it must be of what was read.
func ownersPatch(o client.Object, owners []metav1.OwnerReference) map[string]any {
	return map[string]any{"metadata": map[string]any{
		"uid": o.GetUID(), "resourceVersion": o.GetResourceVersion(), "ownerReferences": owners,
	}}
}

// deleteClaim deletes a former claim, and with it CDI's object over it, which
// would make it again.
func (r *restores) deleteClaim(ctx context.Context, s *v1alpha1.VMRestore, f v1alpha1.FormerClaim) error {
	c := &corev1.PersistentVolumeClaim{}
	ok, err := getFrom(ctx, r.live, s.Namespace, f.Claim, c)
	if err != nil || !ok || c.UID != f.UID {
		return err
	}
	for _, o := range c.OwnerReferences {
		if o.Kind != kindDataVolume.Kind || !strings.HasPrefix(o.APIVersion, kindDataVolume.Group+"/") {
			continue
		}
		dv := &unstructured.Unstructured{}
		dv.SetGroupVersionKind(kindDataVolume)
		dv.SetNamespace(s.Namespace)
		dv.SetName(o.Name)
		if err := r.remove(ctx, dv, o.UID); err != nil {
			return err
		}
	}
	r.Log.Info("deleting former claim", "claim", s.Namespace+"/"+f.Claim, "vmrestore", s.Namespace+"/"+s.Name)
	return r.remove(ctx, c, f.UID)
}

// remove deletes exactly the object of this UID.
func (r *restores) remove(ctx context.Context, o client.Object, uid types.UID) error {
	err := r.client.Delete(ctx, o, client.Preconditions{UID: &uid})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting %s: %w", describe(o), err)
	}
	return nil
}

// patch changes only what it names; o becomes what it is then.
func (r *restores) patch(ctx context.Context, o client.Object, change map[string]any) error {
	raw, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("writing a change of %s: %w", describe(o), err)
	}
	if err := r.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, raw)); err != nil {
		return fmt.Errorf("changing %s: %w", describe(o), err)
	}
	return nil
}
