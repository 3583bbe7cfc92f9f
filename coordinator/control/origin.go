package control

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/words"
)

// origin is what a point's document says, and, before anything is made, what
// the cluster says about restoring it; nil until the document was read. The
// result is what is to be made, nil when it was refused.
func (r *restores) origin(ctx context.Context, s *v1alpha1.VMRestore, b *v1alpha1.VMBackup, vm *plan.Replaced) (*plan.Origin, *vmspec.Result, error) {
	doc, ok := value[*document.Document](r.pool, s.UID, plan.OpReadDocument)
	if !ok {
		return nil, nil, nil
	}
	if refusal := sameOrigin(doc, b); refusal != "" {
		return &plan.Origin{Refusals: refused(refusal)}, nil, nil
	}
	source, err := sourceOf(doc)
	if s.Spec.WithoutSecrets {
		source.Secrets = nil
	}
	if err != nil {
		return &plan.Origin{Refusals: refused(err.Error())}, nil, nil
	}
	if s.Spec.Replace != nil && vm == nil {
		return &plan.Origin{}, nil, nil // which the plan refuses
	}
	real := s.Status.Phase == v1alpha1.RestoreBuilding
	over, err := r.images(ctx, s, b.Spec.Found != nil, doc, classesOf(source))
	if err != nil {
		return nil, nil, err
	}
	if len(over.refusals) > 0 {
		return &plan.Origin{Refusals: over.refusals}, nil, nil
	}
	rebuilt, err := rebuild(s, source, vm, b.Spec.Found != nil, real, over.classes)
	if err != nil {
		return &plan.Origin{Refusals: refused(err.Error())}, nil, nil
	}
	out := &plan.Origin{Notes: slices.Concat(over.notes, rebuilt.Notes, doc.Notes), Wait: over.wait, Make: over.make}
	if real {
		out.Rebuilt = &rebuilt
	}
	if over.wait != "" {
		// Nothing is made, images neither, for a restore that would be refused then.
		rebuilt.Needs.StorageClasses = slices.DeleteFunc(rebuilt.Needs.StorageClasses, func(c string) bool { return slices.Contains(over.coming, c) })
		var notes []string
		out.Refusals, notes, err = r.check(ctx, s, b, rebuilt)
		out.Notes = append(out.Notes, notes...)
		return out, &rebuilt, err
	}
	for _, d := range wanted(s, doc.Disks) {
		disk := plan.OriginDisk{
			Name: d.Name, Claim: rebuilt.Claims[d.Name], SourceVolume: d.Volume, Backup: d.Backup, Snapshot: cloned(d),
			SizeBytes: d.SizeBytes, BackingImage: over.of(d),
			Replicas: d.NumberOfReplicas, AccessMode: d.VolumeAccessMode, Migratable: d.Migratable,
			StorageClass: d.StorageClass, VolumeMode: d.VolumeMode, AccessModes: d.AccessModes,
		}
		if err := r.mapReplicas(ctx, over.classes, &disk); err != nil {
			return nil, nil, err
		}
		out.Disks = append(out.Disks, disk)
	}
	switch {
	case real:
		err = r.fitVolumes(ctx, out)
	case len(s.Status.Disks) == 0:
		var notes []string
		out.Refusals, notes, err = r.check(ctx, s, b, rebuilt)
		out.Notes = append(out.Notes, notes...)
	}
	return out, &rebuilt, err
}

// rebuild makes what a restore asks for of its source: a rehearsal before every
// disk is restored, and the real thing then. classes are those to use in place of the
// captured ones.
func rebuild(s *v1alpha1.VMRestore, source vmspec.Source, vm *plan.Replaced, found, real bool, classes map[string]string) (vmspec.Result, error) {
	o := vmspec.Options{
		NewName: s.Spec.NewVM, Namespace: s.Namespace, KeepMACs: s.Spec.KeepMACAddresses,
		Halt: s.Spec.HaltAfterRestore, RestoreUID: s.UID,
		StorageClasses: classes, Networks: s.Spec.Networks,
		Found: found, Allow: s.Spec.Allow,
	}
	if s.Spec.Replace != nil {
		o.NewName, o.Replace = s.Spec.Replace.VM, vm.Object
	}
	if real {
		o.Volumes, o.Sizes = map[string]string{}, map[string]int64{}
		for _, d := range s.Status.Disks {
			o.Volumes[d.Name], o.Sizes[d.Name] = d.Volume, d.SizeBytes
		}
	}
	if d := s.Spec.DiskClaim; d != nil {
		return vmspec.RebuildDisk(source, d.Disk, d.Claim, o)
	}
	return vmspec.Rebuild(source, o)
}

// mapReplicas gives a disk whose storage class is mapped, or whose number of
// replicas is not known, that of its class here.
func (r *restores) mapReplicas(ctx context.Context, classes map[string]string, d *plan.OriginDisk) error {
	class, ok := classes[d.StorageClass]
	switch {
	case ok:
	case d.Replicas > 0 || d.StorageClass == "":
		return nil
	default:
		class = d.StorageClass // Harvester does not tell how many its volumes had
	}
	var c storagev1.StorageClass
	err := r.live.Get(ctx, client.ObjectKey{Name: class}, &c)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading StorageClass %s: %w", class, err)
	}
	// Without the parameter, or the class, the disk keeps its number.
	if n, err := strconv.Atoi(c.Parameters["numberOfReplicas"]); err == nil && n > 0 {
		d.Replicas = n
	}
	return nil
}

// cloned is the engine snapshot that a disk is cloned from, empty when it is
// restored from a backup.
func cloned(d document.Disk) string {
	if d.Backup != "" {
		return ""
	}
	return d.Snapshot
}

// maxSentence bounds a sentence about a document, which may hold anything.
const maxSentence = 2048

// refused is for what is wrong with a document or with what it names, which only
// the planner can see.
func refused(sentences ...string) (out []rules.Refusal) {
	for _, sentence := range sentences {
		out = append(out, rules.Refusal{Reason: rules.Refused, Sentence: words.Clean(sentence, maxSentence)})
	}
	return out
}

// sameOrigin refuses a document that is not the point's own.
func sameOrigin(doc *document.Document, b *v1alpha1.VMBackup) string {
	if f := b.Spec.Found; f != nil {
		// Its name here may be another one, and so is its UID.
		if doc.Point.UID != f.UID || doc.Origin.ClusterUID != f.ClusterUID || doc.Origin.MadeBy != f.MadeBy || doc.Point.Namespace != b.Namespace {
			return fmt.Sprintf("the document on the target is of point %s/%s (%s), not of the one that was found (%s)", doc.Point.Namespace, doc.Point.Name, doc.Point.UID, f.UID)
		}
		return ""
	}
	if doc.Point.UID != b.UID || doc.Point.Name != b.Name || doc.Point.Namespace != b.Namespace {
		return fmt.Sprintf("the document on the target is of point %s/%s (%s), not of VMBackup %s", doc.Point.Namespace, doc.Point.Name, doc.Point.UID, b.Name)
	}
	return ""
}

// sourceOf is a document as vmspec takes it.
func sourceOf(doc *document.Document) (vmspec.Source, error) {
	vm, err := doc.VMObject()
	if err != nil {
		return vmspec.Source{}, err
	}
	claims, err := doc.PVCs()
	if err != nil {
		return vmspec.Source{}, err
	}
	source := vmspec.Source{VM: vm, PVCs: claims}
	list := make([]corev1.PersistentVolumeClaim, 0, len(claims))
	for name, c := range claims {
		one := c.DeepCopy()
		one.Name = name
		list = append(list, *one)
	}
	contents, _ := vmspec.Inspect(vm, nil, list)
	kinds := map[string]string{}
	for _, d := range contents.Disks {
		kinds[d.Name] = d.Kind
	}
	for _, d := range doc.Disks {
		kind := kinds[d.Name]
		if kind == "" {
			kind = vmspec.KindDisk
		}
		source.Disks = append(source.Disks, vmspec.Disk{Name: d.Name, Claim: d.Claim, Kind: kind})
	}
	for _, o := range doc.Secrets {
		source.Secrets = append(source.Secrets, o.Name)
	}
	for _, o := range doc.ConfigMaps {
		source.ConfigMaps = append(source.ConfigMaps, o.Name)
	}
	return source, nil
}

// fitVolumes makes the PersistentVolumes match the claims that were rebuilt: a
// claim is only bound to a volume of its class, mode and access modes.
func (r *restores) fitVolumes(ctx context.Context, o *plan.Origin) error {
	claims := map[string]*corev1.PersistentVolumeClaim{}
	for _, c := range o.Rebuilt.PVCs {
		claims[c.Name] = c
	}
	for i := range o.Disks {
		d := &o.Disks[i]
		c := claims[d.Claim]
		if c == nil {
			continue
		}
		d.AccessModes = c.Spec.AccessModes
		if c.Spec.VolumeMode != nil {
			d.VolumeMode = *c.Spec.VolumeMode
		}
		d.StorageClass = ""
		if c.Spec.StorageClassName != nil {
			d.StorageClass = *c.Spec.StorageClassName
		}
		if d.StorageClass == "" {
			continue
		}
		var class storagev1.StorageClass
		if err := r.live.Get(ctx, client.ObjectKey{Name: d.StorageClass}, &class); err != nil {
			return fmt.Errorf("reading StorageClass %s: %w", d.StorageClass, err)
		}
		if class.ReclaimPolicy != nil {
			d.ReclaimPolicy = *class.ReclaimPolicy
		}
	}
	return nil
}
