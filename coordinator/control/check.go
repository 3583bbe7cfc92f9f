package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// Kinds that a VM may refer to.
var (
	kindNetwork      = schema.GroupVersionKind{Group: "k8s.cni.cncf.io", Version: "v1", Kind: "NetworkAttachmentDefinition"}
	kindStorageClass = schema.GroupVersionKind{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass"}
	kindAccount      = schema.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}
	kindClaim        = schema.GroupVersionKind{Version: "v1", Kind: "PersistentVolumeClaim"}
	kindSecret       = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	kindConfigMap    = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
)

const instancetypeGroup = "instancetype.kubevirt.io"

// check looks, before any data moves, for what would keep the new VM from being
// made or from starting. Each refusal is a sentence; so is each note, on what
// could not be looked for.
func (r *restores) check(ctx context.Context, s *v1alpha1.VMRestore, doc *document.Document, rebuilt vmspec.Result) (refusals, notes []string, err error) {
	k := &checker{restores: r, ctx: ctx, restore: s}
	if s.Spec.NewVM != "" {
		k.free(kindVM, s.Spec.NewVM, "choose another name in spec.newVM")
	}
	advice := "delete it, or choose another name in spec.newVM"
	switch {
	case s.Spec.DiskClaim != nil:
		advice = "choose another name in spec.diskClaim.claim"
	case s.Spec.Replace != nil:
		advice = "create the restore again: its names are made anew"
	}
	for _, name := range sorted(rebuilt.Claims) {
		k.free(kindClaim, name, advice)
	}
	for _, name := range sorted(rebuilt.Secrets) {
		k.free(kindSecret, name, advice)
	}
	for _, name := range sorted(rebuilt.ConfigMaps) {
		k.free(kindConfigMap, name, advice)
	}
	for _, name := range sorted(s.Spec.StorageClasses) {
		k.longhornClass(name)
	}
	needs := rebuilt.Needs
	for _, name := range needs.StorageClasses {
		k.there(kindStorageClass, "", name)
	}
	for _, ref := range needs.Networks {
		namespace, name, _ := strings.Cut(ref, "/")
		k.there(kindNetwork, namespace, name)
	}
	for _, ref := range slices.Concat(needs.Instancetypes, needs.Preferences) {
		kind, name, _ := strings.Cut(ref, "/")
		k.instancetype(kind, name)
	}
	for _, name := range needs.ServiceAccounts {
		k.there(kindAccount, s.Namespace, name)
	}
	for _, d := range wanted(s, doc.Disks) {
		k.image(d)
	}
	if s.Spec.KeepMACAddresses {
		k.sourceGone(doc.Origin)
	}
	return k.refusals, k.notes, k.err
}

// longhornClass refuses a class, mapped to by hand, whose volumes would not be
// like those that a restore makes. One that is missing is refused elsewhere.
func (k *checker) longhornClass(name string) {
	if k.err != nil {
		return
	}
	var c storagev1.StorageClass
	err := k.live.Get(k.ctx, client.ObjectKey{Name: name}, &c)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		k.err = fmt.Errorf("reading StorageClass %s: %w", name, err)
	case c.Provisioner != plan.Driver:
		k.refuse("StorageClass %s (spec.storageClasses) is of %s, not of Longhorn (%s): choose another", name, c.Provisioner, plan.Driver)
	case c.Parameters["encrypted"] == "true":
		k.refuse("StorageClass %s (spec.storageClasses) encrypts its volumes, which cannot be restored into yet: choose another", name)
	case c.Parameters["dataEngine"] == string(longhorn.DataEngineTypeV2):
		k.refuse("StorageClass %s (spec.storageClasses) has data engine v2, of which Hayloft can restore nothing: choose another", name)
	}
}

func sorted(renames map[string]string) []string {
	var names []string
	for _, name := range renames {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checker gathers refusals; its first error ends it.
type checker struct {
	*restores
	ctx      context.Context
	restore  *v1alpha1.VMRestore
	refusals []string
	notes    []string
	err      error
}

func (k *checker) refuse(format string, args ...any) {
	k.refusals = append(k.refusals, fmt.Sprintf(format, args...))
}

// metadata of an object, read live; nil: there is none. known is false when the
// cluster has no such kind.
func (k *checker) metadata(kind schema.GroupVersionKind, namespace, name string) (o *metav1.PartialObjectMetadata, known bool) {
	if k.err != nil {
		return nil, true
	}
	o = &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(kind)
	err := k.live.Get(k.ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
	switch {
	case err == nil:
		return o, true
	case meta.IsNoMatchError(err):
		return nil, false
	case !apierrors.IsNotFound(err):
		k.err = fmt.Errorf("looking for %s %s: %w", kind.Kind, name, err)
	}
	return nil, true
}

// free refuses a name that somebody else's object has.
func (k *checker) free(kind schema.GroupVersionKind, name, advice string) {
	if o, _ := k.metadata(kind, k.restore.Namespace, name); o != nil && !owned(o, k.restore.UID) {
		k.refuse("%s %s exists already in namespace %s: %s", kind.Kind, name, k.restore.Namespace, advice)
	}
}

// there refuses when something is missing. A kind that the cluster does not
// have is only noted: what serves it may be installed later.
func (k *checker) there(kind schema.GroupVersionKind, namespace, name string) {
	o, known := k.metadata(kind, namespace, name)
	if o != nil || k.err != nil {
		return
	}
	if namespace != "" {
		name = namespace + "/" + name
	}
	if !known {
		k.notes = append(k.notes, fmt.Sprintf("the VM needs %s %s, but this cluster has no objects of that kind: install what serves it before the VM starts", kind.Kind, name))
		return
	}
	k.refuse("%s %s, which the VM needs, does not exist here: create it first", kind.Kind, name)
}

func (k *checker) instancetype(kind, name string) {
	namespace := k.restore.Namespace
	if strings.Contains(kind, "Cluster") {
		namespace = ""
	}
	k.there(schema.GroupVersionKind{Group: instancetypeGroup, Version: "v1beta1", Kind: kind}, namespace, name)
}

// image refuses a disk whose backing image is not exactly the one it was
// written over.
func (k *checker) image(d document.Disk) {
	if d.BackingImage == nil || k.err != nil {
		return
	}
	var image longhorn.BackingImage
	err := k.live.Get(k.ctx, client.ObjectKey{Namespace: k.LonghornNamespace, Name: d.BackingImage.Name}, &image)
	switch {
	case apierrors.IsNotFound(err):
		k.refuse("disk %s needs Longhorn's backing image %s with checksum %s, which does not exist here: import it first", d.Name, d.BackingImage.Name, d.BackingImage.Checksum)
	case err != nil:
		k.err = fmt.Errorf("reading backing image %s: %w", d.BackingImage.Name, err)
	case image.Status.Checksum != d.BackingImage.Checksum:
		k.refuse("backing image %s of disk %s has checksum %s here, but the backup was made over one with %s: the disk would be garbage", d.BackingImage.Name, d.Name, orNone(image.Status.Checksum), d.BackingImage.Checksum)
	}
}

func orNone(s string) string {
	if s == "" {
		return "none (yet)"
	}
	return s
}

// sourceGone refuses to give a second VM the same MAC addresses.
func (k *checker) sourceGone(o document.Origin) {
	if vm, _ := k.metadata(kindVM, o.Namespace, o.VM); vm != nil {
		k.refuse("spec.keepMACAddresses: source VM %s/%s still exists, and two VMs would answer to one address: delete it, or leave keepMACAddresses out", o.Namespace, o.VM)
	}
}
