package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// BackupFacts are read for a VMBackup that is to be begun, or created.
func (c *Controller) BackupFacts(ctx context.Context, b *v1alpha1.VMBackup) (f rules.BackupFacts, err error) {
	f.Backup = b
	if f.Target, f.Uses, err = c.targetUse(ctx, b.Spec.Target, b.Namespace); err != nil {
		return f, err
	}
	if f.Source, _, err = c.source(ctx, b); err != nil || f.Source == nil {
		return f, err
	}
	quotas, err := c.quotas(ctx, b.Namespace)
	if err != nil || len(quotas) == 0 {
		return f, err
	}
	// Early advice: the leader decides, one point at a time.
	space, err := c.space(ctx, b, quotas, f.Source, func(b *v1alpha1.VMBackup) *v1alpha1.VMBackup { return b })
	f.Space = space.Refusals
	return f, err
}

// RestoreFacts are read live for a VMRestore that is to be created.
func (c *Controller) RestoreFacts(ctx context.Context, s *v1alpha1.VMRestore) (f rules.RestoreFacts, err error) {
	f.Restore = s
	var b v1alpha1.VMBackup
	switch err := c.live.Get(ctx, status.PointOf(s), &b); {
	case apierrors.IsNotFound(err):
		return f, nil
	case err != nil:
		return f, fmt.Errorf("reading VMBackup %s: %w", s.Spec.Backup, err)
	}
	f.Backup = &b
	if f.Target, err = c.target(ctx, b.Spec.Target); err != nil {
		return f, err
	}
	f.Place, err = c.place(ctx, s, &b)
	return f, err
}

// Readers are the restores that keep a VMBackup from being deleted.
func (c *Controller) Readers(ctx context.Context, b *v1alpha1.VMBackup) ([]string, error) {
	return c.readers(ctx, b)
}

// TargetUsers are all points and restores, read live, for the rules on deleting
// a target.
func (c *Controller) TargetUsers(ctx context.Context) (points []v1alpha1.VMBackup, restores []v1alpha1.VMRestore, err error) {
	var backups v1alpha1.VMBackupList
	if err := c.live.List(ctx, &backups); err != nil {
		return nil, nil, fmt.Errorf("listing the VMBackups that may be on it: %w", err)
	}
	var list v1alpha1.VMRestoreList
	if err := c.live.List(ctx, &list); err != nil {
		return nil, nil, fmt.Errorf("listing the VMRestores that may read from it: %w", err)
	}
	return backups.Items, list.Items, nil
}

// place looks live at where a restore is to land.
func (c *Controller) place(ctx context.Context, s *v1alpha1.VMRestore, b *v1alpha1.VMBackup) (p rules.Place, err error) {
	switch {
	case s.Spec.Replace != nil:
		if p.Replaced, p.Snapshots, err = c.replaceable(ctx, s); err == nil {
			p.Schedule, err = c.madeBy(ctx, b)
		}
	case s.Spec.DiskClaim != nil:
		p.Taken, err = c.taken(ctx, kindClaim, s, s.Spec.DiskClaim.Claim)
	default:
		p.Taken, err = c.taken(ctx, kindVM, s, s.Spec.NewVM)
	}
	if err != nil {
		return p, err
	}
	if s.Spec.KeepMACAddresses {
		source, _, err := c.lookFor(ctx, kindVM, b.Namespace, b.Spec.VM)
		if err != nil {
			return p, err
		}
		p.SourceLives = source != nil
	}
	var list v1alpha1.VMRestoreList
	if err := c.live.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return p, fmt.Errorf("listing the other VMRestores of namespace %s: %w", s.Namespace, err)
	}
	p.Others = list.Items
	p.Missing, err = c.unmapped(ctx, s)
	return p, err
}

// taken tells whether another's object has a name.
func (c *Controller) taken(ctx context.Context, kind schema.GroupVersionKind, s *v1alpha1.VMRestore, name string) (bool, error) {
	o, _, err := c.lookFor(ctx, kind, s.Namespace, name)
	return o != nil && (s.UID == "" || !owned(o, s.UID)), err
}

// madeBy is the VMSchedule that made a point, read live; nil: none, or it is gone.
func (c *Controller) madeBy(ctx context.Context, b *v1alpha1.VMBackup) (*v1alpha1.VMSchedule, error) {
	uid, name := b.Labels[v1alpha1.LabelSchedule], b.Annotations[v1alpha1.AnnotationSchedule]
	if uid == "" || name == "" {
		return nil, nil
	}
	s := &v1alpha1.VMSchedule{}
	ok, err := getFrom(ctx, c.live, b.Namespace, name, s)
	if err != nil || !ok || string(s.UID) != uid {
		return nil, err
	}
	return s, nil
}

// replaceable is the VM that a restore is to replace, and, if its volumes are to
// go, the points of type Snapshot in them.
func (c *Controller) replaceable(ctx context.Context, s *v1alpha1.VMRestore) (*rules.VM, []string, error) {
	name := s.Spec.Replace.VM
	vm, err := c.read(ctx, kindVM, s.Namespace, name)
	if err != nil || vm == nil {
		return nil, nil, err
	}
	vmi, err := c.read(ctx, kindVMI, s.Namespace, name)
	if err != nil {
		return nil, nil, err
	}
	out := &rules.VM{Leaving: vm.GetDeletionTimestamp() != nil, On: vmspec.Off(vm, vmi)}
	if s.Spec.Replace.Volumes != v1alpha1.VolumesDelete {
		return out, nil, nil
	}
	snapshots, err := c.snapshotsIn(ctx, s.Namespace, vm, vmi)
	return out, snapshots, err
}

// snapshotsIn are the points of type Snapshot in a VM's volumes, read live:
// they would go with them.
func (c *Controller) snapshotsIn(ctx context.Context, namespace string, vm, vmi *unstructured.Unstructured) ([]string, error) {
	all := &v1alpha1.VMBackup{}
	all.Namespace = namespace
	source, _, err := c.resolve(ctx, c.live, all, vm, vmi)
	if err != nil {
		return nil, err
	}
	volumes := map[string]bool{}
	for _, d := range source.Disks {
		volumes[d.Volume] = d.Volume != ""
	}
	var list v1alpha1.VMBackupList
	if err := c.live.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("listing the VMBackups of namespace %s: %w", namespace, err)
	}
	var out []string
	for i := range list.Items {
		b := &list.Items[i]
		if b.Spec.Type == v1alpha1.TypeSnapshot && b.Status.Phase != v1alpha1.BackupFailed &&
			b.Status.Phase != v1alpha1.BackupDataLost && b.DeletionTimestamp.IsZero() &&
			slices.ContainsFunc(b.Status.Disks, func(d v1alpha1.BackupDisk) bool { return volumes[d.Volume] }) {
			out = append(out, b.Name)
		}
	}
	return out, nil
}

// unmapped are the objects that a restore maps to and that do not exist.
func (c *Controller) unmapped(ctx context.Context, s *v1alpha1.VMRestore) ([]rules.Missing, error) {
	var out []rules.Missing
	look := func(field string, kind schema.GroupVersionKind, namespace, name string) error {
		o, _, err := c.lookFor(ctx, kind, namespace, name)
		if err == nil && o == nil {
			out = append(out, rules.Missing{Field: field, Kind: kind.Kind, Name: strings.TrimPrefix(namespace+"/"+name, "/")})
		}
		return err
	}
	for _, from := range slices.Sorted(maps.Keys(s.Spec.StorageClasses)) {
		if err := look("spec.storageClasses["+from+"]", kindStorageClass, "", s.Spec.StorageClasses[from]); err != nil {
			return nil, err
		}
	}
	for _, from := range slices.Sorted(maps.Keys(s.Spec.Networks)) {
		namespace, name, both := strings.Cut(s.Spec.Networks[from], "/")
		if !both {
			namespace, name = s.Namespace, namespace
		}
		if err := look("spec.networks["+from+"]", kindNetwork, namespace, name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// lookFor returns the metadata of an object, read live; nil: there is none.
// known is false when the cluster has no such kind.
func (c *Controller) lookFor(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (o *metav1.PartialObjectMetadata, known bool, err error) {
	o = &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(kind)
	err = c.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
	switch {
	case err == nil:
		return o, true, nil
	case meta.IsNoMatchError(err):
		return nil, false, nil
	case apierrors.IsNotFound(err):
		return nil, true, nil
	}
	return nil, true, fmt.Errorf("looking for %s %s: %w", kind.Kind, name, err)
}
