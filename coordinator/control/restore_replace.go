package control

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// replaced looks live at the VM that a restore replaces; nil: there is none, or
// nothing depends on it yet. The VM is read first: whoever starts it after that
// has changed it, and a swap on what was read is refused by the API server.
func (r *restores) replaced(ctx context.Context, s *v1alpha1.VMRestore) (*plan.Replaced, error) {
	_, reading := value[any](r.pool, s.UID, plan.OpReadDocument)
	if s.Spec.Replace == nil || len(s.Status.Disks) == 0 && !reading {
		return nil, nil
	}
	name := s.Spec.Replace.VM
	vm, err := r.read(ctx, kindVM, s.Namespace, name)
	if err != nil || vm == nil {
		return nil, err
	}
	vmi, err := r.read(ctx, kindVMI, s.Namespace, name)
	if err != nil {
		return nil, err
	}
	v := &plan.Replaced{
		UID: vm.GetUID(), Leaving: vm.GetDeletionTimestamp() != nil, Object: vm,
		On: vmspec.Off(vm, vmi), Mine: owned(vm, s.UID), Restore: types.UID(vm.GetLabels()[v1alpha1.LabelRestore]), Strategy: vm.GetAnnotations()[vmspec.AnnotationRunStrategy],
	}
	seen, _, _ := unstructured.NestedString(vm.Object, "status", "runStrategy")
	v.Halted = vmi == nil && (seen == "" || seen == "Halted")
	if vmi != nil {
		phase, _, _ := unstructured.NestedString(vmi.Object, "status", "phase")
		v.Running = phase == "Running" && vmi.GetDeletionTimestamp() == nil
	}
	if s.Status.Phase == v1alpha1.RestoreRestoring {
		return v, nil // the rest matters before and after
	}
	if v.Rivals, err = r.rivals(ctx, s); err != nil {
		return nil, err
	}
	if err := r.claimsOfVM(ctx, s, v); err != nil {
		return nil, err
	}
	return v, r.points(ctx, s, v)
}

// rivals are the other unfinished restores into the same VM that have begun.
func (r *restores) rivals(ctx context.Context, s *v1alpha1.VMRestore) ([]plan.Rival, error) {
	var list v1alpha1.VMRestoreList
	if err := r.live.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return nil, fmt.Errorf("listing the VMRestores into VM %s: %w", s.Spec.Replace.VM, err)
	}
	var out []plan.Rival
	for i := range list.Items {
		o := &list.Items[i]
		over := o.Status.Phase == v1alpha1.RestoreReady || meta.IsStatusConditionFalse(o.Status.Conditions, v1alpha1.ConditionReady)
		if o.UID == s.UID || o.Spec.Replace == nil || o.Spec.Replace.VM != s.Spec.Replace.VM || o.Status.BackupUID == "" || over {
			continue
		}
		first := o.CreationTimestamp.Before(&s.CreationTimestamp) || o.CreationTimestamp.Equal(&s.CreationTimestamp) && o.UID < s.UID
		out = append(out, plan.Rival{Name: o.Name, First: first, Moving: len(o.Status.Disks) > 0})
	}
	return out, nil
}

// claimsOfVM tells of the former claims that are recorded, and of the restored
// TPM and EFI state.
func (r *restores) claimsOfVM(ctx context.Context, s *v1alpha1.VMRestore, v *plan.Replaced) error {
	v.Claims = map[string]plan.FormerFact{}
	if !v.Mine && s.Status.ReplacedAt == nil {
		return nil
	}
	users, err := r.users(ctx, s.Namespace)
	if err != nil {
		return err
	}
	for _, f := range s.Status.Former {
		var c corev1.PersistentVolumeClaim
		ok, err := getFrom(ctx, r.live, s.Namespace, f.Claim, &c)
		if err != nil {
			return err
		}
		if !ok || c.UID != f.UID {
			continue
		}
		change, err := r.releasing(ctx, &c, v.UID, s.Spec.Replace.VM, f.Disk)
		if err != nil {
			return err
		}
		v.Claims[f.Claim] = plan.FormerFact{Free: change.nothing(), Deleting: !c.DeletionTimestamp.IsZero(), Users: users[f.Claim]}
	}
	var state corev1.PersistentVolumeClaim
	ok, err := getFrom(ctx, r.live, s.Namespace, vmspec.StateClaimName(s.Spec.Replace.VM, s.UID), &state)
	v.Labelled = ok && state.Labels[vmspec.LabelPersistentState] == s.Spec.Replace.VM
	return err
}

// users tells for each claim of a namespace which VMs and running instances
// refer to it.
func (r *restores) users(ctx context.Context, namespace string) (map[string][]string, error) {
	out := map[string][]string{}
	err := r.eachShape(ctx, namespace, func(user string, vm *unstructured.Unstructured) {
		for _, d := range vmspec.ClaimsOf(vm, nil) {
			out[d.Claim] = append(out[d.Claim], user)
		}
	})
	return out, err
}

// eachShape looks live at all VMs and running instances of a namespace, each in
// the shape of a VM.
func (r *restores) eachShape(ctx context.Context, namespace string, look func(user string, vm *unstructured.Unstructured)) error {
	for _, kind := range []struct {
		gvk  string
		path []string
	}{
		{"VirtualMachine", []string{"spec", "template"}},
		{"VirtualMachineInstance", nil},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kindVM.GroupVersion().WithKind(kind.gvk + "List"))
		if err := r.live.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("listing who uses what the VM had before: %w", err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			shape := o
			if kind.path == nil { // an instance's spec is a VM's template
				shape = &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": o.Object["spec"]}}}}
			}
			look(kind.gvk+" "+o.GetName(), shape)
		}
	}
	return nil
}

// points are those of the VM that are being taken, and those of type Snapshot
// that live in its former volumes.
func (r *restores) points(ctx context.Context, s *v1alpha1.VMRestore, v *plan.Replaced) error {
	var list v1alpha1.VMBackupList
	if err := r.live.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("listing the points of VM %s: %w", s.Spec.Replace.VM, err)
	}
	for i := range list.Items {
		b := &list.Items[i]
		failed := meta.IsStatusConditionFalse(b.Status.Conditions, v1alpha1.ConditionReady)
		if b.Spec.VM != s.Spec.Replace.VM || failed || b.Status.StartedAt == nil {
			continue
		}
		if b.Status.CompletedAt == nil && b.DeletionTimestamp.IsZero() {
			v.Busy = append(v.Busy, b.Name)
		}
		if b.Spec.Type != v1alpha1.TypeSnapshot || b.Status.Phase == v1alpha1.BackupDataLost {
			continue
		}
		f := plan.SnapshotFact{Name: b.Name, UID: b.UID, Deleting: !b.DeletionTimestamp.IsZero()}
		for _, d := range b.Status.Disks {
			f.Volumes = append(f.Volumes, d.Volume)
		}
		v.Snapshots = append(v.Snapshots, f)
	}
	if v.Mine || s.Status.ReplacedAt != nil {
		v.Snapshots = living(v.Snapshots, s.Status.Former)
	}
	return nil
}

// former tells which claims the VM has that it would not have any more.
func (r *restores) former(ctx context.Context, s *v1alpha1.VMRestore, v *plan.Replaced, rebuilt *vmspec.Result) error {
	if v == nil || v.Mine || rebuilt == nil || s.Status.Phase == v1alpha1.RestoreRestoring {
		return nil
	}
	var claims corev1.PersistentVolumeClaimList
	if err := r.live.List(ctx, &claims, client.InNamespace(s.Namespace)); err != nil {
		return fmt.Errorf("listing the claims of VM %s: %w", s.Spec.Replace.VM, err)
	}
	stays := map[string]bool{}
	for _, d := range vmspec.ClaimsOf(rebuilt.VM, nil) {
		stays[d.Claim] = true
	}
	restoresState := slices.Contains(sorted(rebuilt.Claims), vmspec.StateClaimName(s.Spec.Replace.VM, s.UID))
	for _, d := range vmspec.ClaimsOf(v.Object, claims.Items) {
		if stays[d.Claim] || d.Kind == vmspec.KindPersistentState && !restoresState {
			continue
		}
		i := slices.IndexFunc(claims.Items, func(c corev1.PersistentVolumeClaim) bool { return c.Name == d.Claim })
		if i < 0 {
			continue // a VM can be replaced because it lost its disks
		}
		f := v1alpha1.FormerClaim{Disk: d.Name, Claim: d.Claim, UID: claims.Items[i].UID}
		var err error
		if f.Volume, err = r.volumeOf(ctx, &claims.Items[i]); err != nil {
			return err
		}
		v.Former = append(v.Former, f)
	}
	v.Snapshots = living(v.Snapshots, v.Former)
	return nil
}

// living are the points that live in the volumes of claims.
func living(points []plan.SnapshotFact, claims []v1alpha1.FormerClaim) []plan.SnapshotFact {
	return slices.DeleteFunc(points, func(f plan.SnapshotFact) bool {
		return !slices.ContainsFunc(claims, func(c v1alpha1.FormerClaim) bool { return slices.Contains(f.Volumes, c.Volume) })
	})
}

// volumeOf is the Longhorn volume under a claim, "" when there is none.
func (r *restores) volumeOf(ctx context.Context, c *corev1.PersistentVolumeClaim) (string, error) {
	if c.Spec.VolumeName == "" {
		return "", nil
	}
	var pv corev1.PersistentVolume
	ok, err := r.get(ctx, "", c.Spec.VolumeName, &pv)
	if err != nil || !ok || pv.Spec.CSI == nil {
		return "", err
	}
	return pv.Spec.CSI.VolumeHandle, nil
}

// annotationGivenUp is on a VM while what was made to replace it is removed.
const annotationGivenUp = "hayloft.dev/restore-given-up"

// fence makes sure, before anything that a restore made is removed, that the VM
// which was to be replaced does not have it and will not get it: the annotation
// changes the VM, so that a former leader's swap which is still on its way is
// refused. mine: the VM has the restored disks.
func (r *restores) fence(ctx context.Context, s *v1alpha1.VMRestore) (mine bool, err error) {
	if s.Spec.Replace == nil || len(s.Status.Disks) == 0 {
		return false, nil
	}
	vm, err := r.read(ctx, kindVM, s.Namespace, s.Spec.Replace.VM)
	if err != nil || vm == nil {
		return false, err
	}
	if owned(vm, s.UID) || vm.GetAnnotations()[annotationGivenUp] == string(s.UID) {
		return owned(vm, s.UID), nil
	}
	if err := r.annotate(ctx, vm, annotationGivenUp, string(s.UID)); err != nil {
		return false, err
	}
	return owned(vm, s.UID), nil
}

func (r *restores) unfence(ctx context.Context, s *v1alpha1.VMRestore) error {
	if s.Spec.Replace == nil {
		return nil
	}
	vm, err := r.read(ctx, kindVM, s.Namespace, s.Spec.Replace.VM)
	if err != nil || vm == nil || vm.GetAnnotations()[annotationGivenUp] != string(s.UID) {
		return err
	}
	return r.annotate(ctx, vm, annotationGivenUp, nil)
}

// annotate sets or, with nil, removes an annotation; vm becomes what it is then.
func (r *restores) annotate(ctx context.Context, vm *unstructured.Unstructured, key string, value any) error {
	return r.patch(ctx, vm, map[string]any{"metadata": map[string]any{
		"uid": vm.GetUID(), "annotations": map[string]any{key: value},
	}})
}
