package control

import (
	"context"
	"fmt"
	"maps"
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// here maps a disk -> the image here with the content that its own had; its name may
	// be another, since Harvester makes names of UIDs.
	here map[string]v1alpha1.BackingImage
	// classes are spec.storageClasses, and for a class of an image that is not here
	// the one that the image has here.
	classes  map[string]string
	refusals []rules.Refusal
	notes    []string
	// make are images to make, wait says what is waited for, and coming are the classes
	// of such disks: they come with the images.
	make   []client.Object
	wait   string
	coming []string
}

func (o *over) of(d document.Disk) *v1alpha1.BackingImage {
	if d.BackingImage == nil {
		return nil
	}
	image := o.here[d.Name]
	return &image
}

// images looks for the images of a restore, and tells which are to be made. found: its
// point was found on a target; classes maps a disk -> the class that its claim was
// captured with.
func (r *restores) images(ctx context.Context, s *v1alpha1.VMRestore, found bool, doc *document.Document, classes map[string]string) (*over, error) {
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
			out.here[d.Name] = v1alpha1.BackingImage{Name: image.Name, Checksum: d.BackingImage.Checksum}
			if err := r.classOver(ctx, image, classes[d.Name], out); err != nil {
				return nil, err
			}
			continue
		}
		lacking.Lacking.Found = found
		missing = append(missing, lacking)
		if step, _ := rules.Recreate(lacking); !lacking.Here && step != rules.ImageNone {
			waits = append(waits, fmt.Sprintf("VirtualMachineImage %s/%s of disk %s is imported", s.Namespace, lacking.Lacking.Source.Name, d.Name))
			out.coming = append(out.coming, classes[d.Name])
			if step == rules.ImageMake {
				out.make = append(out.make, virtualMachineImage(lacking))
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
	name := want.Name
	var begun bool
	for _, disk := range s.Status.Disks {
		if disk.Name == d.Name && disk.BackingImage != nil {
			name, begun = disk.BackingImage.Name, true
		}
	}
	image := &longhorn.BackingImage{}
	err := r.live.Get(ctx, client.ObjectKey{Namespace: r.LonghornNamespace, Name: name}, image)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, want, fmt.Errorf("reading backing image %s: %w", name, err)
	case begun: // its volumes lie over it
		image.Name = name
		return image, want, nil
	case err == nil && usable(image):
		if want.Here, want.Found = true, image.Status.Checksum; want.Found != want.Checksum {
			image = nil
		}
		return image, want, nil
	}
	// Before the backing images are listed: an image that is imported by now has its
	// own there.
	want.Lacking = rules.ImageFacts{Source: d.BackingImage.Source, Namespace: s.Namespace, Images: s.Spec.Images}
	if err := r.lacking(ctx, &want); err != nil {
		return nil, want, err
	}
	var all longhorn.BackingImageList
	if err := r.live.List(ctx, &all, client.InNamespace(r.LonghornNamespace)); err != nil {
		return nil, want, fmt.Errorf("listing backing images: %w", err)
	}
	for i := range all.Items { // in the order of their names
		if usable(&all.Items[i]) && all.Items[i].Status.Checksum == want.Checksum {
			return &all.Items[i], want, nil
		}
	}
	beside(&want.Lacking, all.Items)
	return nil, want, nil
}

// usable tells whether a new volume can lie over an image.
func usable(image *longhorn.BackingImage) bool {
	return image.DeletionTimestamp.IsZero() && image.Spec.DataEngine != longhorn.DataEngineTypeV2
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
