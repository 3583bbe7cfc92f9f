package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/document"
)

// lacking finds out what an image could be made again with.
func (r *restores) lacking(ctx context.Context, i *rules.Image) error {
	f := &i.Lacking
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kindImage.GroupVersion().WithKind(kindImage.Kind + "List"))
	err := r.live.List(ctx, list, client.InNamespace(f.Namespace))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing VirtualMachineImages in namespace %s: %w", f.Namespace, err)
	}
	f.Kind = true
	if f.Source == nil {
		return nil
	}
	for k := range list.Items {
		o := &list.Items[k]
		shown, _, _ := unstructured.NestedString(o.Object, "spec", "displayName")
		switch {
		case o.GetName() == f.Source.Name:
			f.Same = sameImage(o)
		case shown == f.DisplayName() || o.GetLabels()[labelDisplayName] == f.DisplayName():
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
		return b.Status.State == longhorn.BackupStateCompleted && b.Status.URL == f.Source.URL && b.Status.Checksum == i.Checksum
	})
	return nil
}

func sameImage(o *unstructured.Unstructured) *rules.SameImage {
	out := &rules.SameImage{}
	if o.GetDeletionTimestamp() != nil {
		return out
	}
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

// beside looks at the backing images that are here, none of which has the content.
// Harvester counts an image as imported a moment before Longhorn says what is in it.
// And before it makes a backing image it deletes the one that it takes for it by its
// name, from whichever release or cluster that is (pkg/util, image.go).
func beside(f *rules.ImageFacts, here []longhorn.BackingImage) {
	if f.Source == nil {
		return
	}
	former := f.Namespace + "-" + f.Source.Name
	if len(former) > longhornName {
		former = strings.TrimRight(former[:longhornName-len("-12345678")], "-") + "-"
	}
	for k := range here {
		image := &here[k]
		namespace, name, _ := rules.ImageOf(image)
		own := namespace == f.Namespace && name == f.Source.Name
		if f.Same != nil && own && image.Status.Checksum == "" {
			f.Same.Imported = false
		}
		if image.Name == former || strings.HasSuffix(former, "-") && strings.HasPrefix(image.Name, former) ||
			f.Source.Backup && image.Name == document.BackedImage(f.Source.URL) {
			f.InTheWay = image.Name
		}
	}
}

// longhornName is the length to which Longhorn shortens a name, with a digest of eight
// digits at its end (longhorn-manager, datastore.NameMaximumLength).
const longhornName = 40

// virtualMachineImage is the image of Harvester's that i was. With the checksum
// Longhorn takes no other content for it.
func virtualMachineImage(i rules.Image) client.Object {
	source, shown := "download", i.Lacking.DisplayName()
	if i.Lacking.Source.Backup {
		source = "restore"
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"displayName": shown, "sourceType": source, "url": i.Lacking.Source.URL, "checksum": i.Checksum,
	}}}
	u.SetGroupVersionKind(kindImage)
	u.SetNamespace(i.Lacking.Namespace)
	u.SetName(i.Lacking.Source.Name)
	u.SetLabels(map[string]string{labelDisplayName: shown})
	return u
}
