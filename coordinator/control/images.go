package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// kindImage is Harvester's image: its controller makes Longhorn's backing image of it,
// and a StorageClass for volumes over that.
var kindImage = schema.GroupVersionKind{Group: "harvesterhci.io", Version: "v1beta1", Kind: "VirtualMachineImage"}

// labelDisplayName is Harvester's, on its images.
const labelDisplayName = "harvesterhci.io/imageDisplayName"

// over are the backing images that the disks of a restore lie over.
type over struct {
	// here maps the name that an image has in the document -> the one here with that
	// content; its name may be another, since Harvester makes names of UIDs.
	here map[string]v1alpha1.BackingImage
	// classes are spec.storageClasses, and for a class of an image that is not here
	// the one that the image has here.
	classes  map[string]string
	refusals []rules.Refusal
	notes    []string
	// make are images to make, wait says what is waited for.
	make []client.Object
	wait string
}

func (o *over) of(d document.Disk) *v1alpha1.BackingImage {
	if d.BackingImage == nil {
		return nil
	}
	image := o.here[d.BackingImage.Name]
	return &image
}

// images looks for the images of a restore, and tells which are to be made. classes
// maps a disk -> the class that its claim was captured with.
func (r *restores) images(ctx context.Context, s *v1alpha1.VMRestore, doc *document.Document, classes map[string]string) (*over, error) {
	out := &over{here: map[string]v1alpha1.BackingImage{}, classes: maps.Clone(s.Spec.StorageClasses)}
	var missing []rules.Image
	var waits []string
	for _, d := range wanted(s, doc.Disks) {
		if d.BackingImage == nil {
			continue
		}
		image, lacking, err := r.image(ctx, s, d)
		if err != nil {
			return nil, err
		}
		if image != nil {
			out.here[d.BackingImage.Name] = v1alpha1.BackingImage{Name: image.Name, Checksum: image.Status.Checksum}
			if err := r.classOver(ctx, image, classes[d.Name], out); err != nil {
				return nil, err
			}
			continue
		}
		missing = append(missing, lacking)
		if step, _ := rules.Recreate(lacking); !lacking.Here && step != rules.ImageNone {
			waits = append(waits, fmt.Sprintf("VirtualMachineImage %s/%s of disk %s is imported", s.Namespace, lacking.Lacking.Source.Name, d.Name))
			if step == rules.ImageMake {
				out.make = append(out.make, virtualMachineImage(s.Namespace, d.BackingImage))
			}
		}
	}
	out.refusals = rules.Images(missing)
	if len(waits) > 0 {
		out.wait = "waiting until " + strings.Join(waits, ", ")
	}
	return out, nil
}

// image is the one here with the content of a disk's, nil if there is none: then the
// facts about it say what can be done.
func (r *restores) image(ctx context.Context, s *v1alpha1.VMRestore, d document.Disk) (*longhorn.BackingImage, rules.Image, error) {
	want := rules.Image{Disk: d.Name, Name: d.BackingImage.Name, Checksum: d.BackingImage.Checksum}
	want.Lacking = rules.ImageFacts{Source: d.BackingImage.Source, Namespace: s.Namespace, Asked: s.Spec.Images == v1alpha1.ImagesRecreate}
	name := want.Name
	for _, begun := range s.Status.Disks {
		if begun.Name == d.Name && begun.BackingImage != nil {
			name = begun.BackingImage.Name
		}
	}
	var image longhorn.BackingImage
	err := r.live.Get(ctx, client.ObjectKey{Namespace: r.LonghornNamespace, Name: name}, &image)
	if client.IgnoreNotFound(err) != nil {
		return nil, want, fmt.Errorf("reading backing image %s: %w", name, err)
	}
	if want.Here, want.Found = err == nil, image.Status.Checksum; want.Here {
		if want.Found == want.Checksum {
			return &image, want, nil
		}
		return nil, want, nil
	}
	// Before the list: an image that is imported by now has its backing image there.
	if err := r.lacking(ctx, s.Namespace, &want.Lacking); err != nil {
		return nil, want, err
	}
	var all longhorn.BackingImageList
	if err := r.live.List(ctx, &all, client.InNamespace(r.LonghornNamespace)); err != nil {
		return nil, want, fmt.Errorf("listing backing images: %w", err)
	}
	for i := range all.Items { // in the order of their names
		if have := &all.Items[i]; have.Status.Checksum == want.Checksum && have.DeletionTimestamp.IsZero() {
			return have, want, nil
		}
	}
	return nil, want, nil
}

// lacking finds out what an image could be made again with.
func (r *restores) lacking(ctx context.Context, namespace string, f *rules.ImageFacts) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kindImage.GroupVersion().WithKind(kindImage.Kind + "List"))
	err := r.live.List(ctx, list, client.InNamespace(namespace))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing VirtualMachineImages in namespace %s: %w", namespace, err)
	}
	f.Kind = true
	if f.Source == nil {
		return nil
	}
	for i := range list.Items {
		o := &list.Items[i]
		shown, _, _ := unstructured.NestedString(o.Object, "spec", "displayName")
		switch {
		case o.GetName() == f.Source.Name:
			f.Same = sameImage(o)
		case shown == displayName(f.Source):
			f.Displayed = o.GetName()
		}
	}
	if !f.Source.Backup {
		return nil
	}
	var backups longhorn.BackupBackingImageList
	if err := r.live.List(ctx, &backups, client.InNamespace(r.LonghornNamespace)); err != nil {
		return fmt.Errorf("listing Longhorn's backups of images: %w", err)
	}
	f.Backed = slices.ContainsFunc(backups.Items, func(b longhorn.BackupBackingImage) bool {
		return b.Status.State == longhorn.BackupStateCompleted && b.Status.URL == f.Source.URL
	})
	return nil
}

func sameImage(o *unstructured.Unstructured) *rules.SameImage {
	out := &rules.SameImage{}
	out.Checksum, _, _ = unstructured.NestedString(o.Object, "spec", "checksum")
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		if m["status"] != "True" {
			continue
		}
		switch m["type"] {
		case "Imported":
			out.Imported = true
		case "RetryLimitExceeded":
			if out.Failed, _ = m["message"].(string); out.Failed == "" {
				out.Failed = "RetryLimitExceeded"
			}
		}
	}
	return out
}

func displayName(s *v1alpha1.ImageSource) string {
	if s.DisplayName == "" {
		return s.Name
	}
	return s.DisplayName
}

// virtualMachineImage is the image of Harvester's that b was. With the checksum
// Longhorn takes no other content for it.
func virtualMachineImage(namespace string, b *v1alpha1.BackingImage) client.Object {
	source := "download"
	if b.Source.Backup {
		source = "restore"
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"displayName": displayName(b.Source), "sourceType": source, "url": b.Source.URL, "checksum": b.Checksum,
	}}}
	u.SetGroupVersionKind(kindImage)
	u.SetNamespace(namespace)
	u.SetName(b.Source.Name)
	u.SetLabels(map[string]string{labelDisplayName: displayName(b.Source)})
	return u
}

// classOver puts the class that an image has here in the place of one that is not
// here: Harvester names them after the image or its UID.
func (r *restores) classOver(ctx context.Context, image *longhorn.BackingImage, class string, out *over) error {
	if _, mapped := out.classes[class]; mapped || class == "" {
		return nil
	}
	err := r.live.Get(ctx, client.ObjectKey{Name: class}, &storagev1.StorageClass{})
	if !apierrors.IsNotFound(err) {
		if err != nil {
			return fmt.Errorf("reading StorageClass %s: %w", class, err)
		}
		return nil
	}
	namespace, name, ok := rules.ImageOf(image)
	if !ok {
		return nil
	}
	o, err := r.read(ctx, kindImage, namespace, name)
	if err != nil || o == nil {
		return err
	}
	here, _, _ := unstructured.NestedString(o.Object, "status", "storageClassName")
	if here == "" {
		return nil
	}
	if out.classes == nil {
		out.classes = map[string]string{}
	}
	out.classes[class] = here
	out.notes = append(out.notes, fmt.Sprintf("StorageClass %s does not exist here: %s, of VirtualMachineImage %s/%s with the same content, was used in its place", class, here, namespace, name))
	return nil
}

// classesOf maps each disk of a source -> the class that its claim was captured with.
func classesOf(in vmspec.Source) map[string]string {
	out := map[string]string{}
	for _, d := range in.Disks {
		if c := in.PVCs[d.Claim]; c != nil {
			out[d.Name] = vmspec.StorageClass(c)
		}
	}
	return out
}
