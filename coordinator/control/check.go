package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
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
// What can be told without the point's document was looked at before (place).
func (r *restores) check(ctx context.Context, s *v1alpha1.VMRestore, b *v1alpha1.VMBackup, rebuilt vmspec.Result) (refusals []rules.Refusal, notes []string, err error) {
	k := &checker{restores: r, ctx: ctx, restore: s}
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
	if b.Spec.Found != nil {
		k.strange(rebuilt.Absent)
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
	if b.Spec.Found != nil && !slices.Contains(s.Spec.Allow, v1alpha1.AllowHostDevices) {
		for _, ref := range needs.Instancetypes {
			kind, name, _ := strings.Cut(ref, "/")
			k.withoutDevices(kind, name)
		}
	}
	for _, name := range needs.ServiceAccounts {
		k.there(kindAccount, s.Namespace, name)
	}
	return k.refusals, k.notes, k.err
}

// longhornClass looks at a class that was mapped to by hand. One that is missing
// is refused elsewhere.
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
	default:
		k.refusals = append(k.refusals, rules.MappedClass(name, c.Provisioner, c.Parameters)...)
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
	refusals []rules.Refusal
	notes    []string
	err      error
}

// metadata of an object, nil when there is none; known as lookFor says.
func (k *checker) metadata(kind schema.GroupVersionKind, namespace, name string) (o *metav1.PartialObjectMetadata, known bool) {
	if k.err != nil {
		return nil, true
	}
	o, known, k.err = k.lookFor(k.ctx, kind, namespace, name)
	return o, known
}

// free refuses a name that somebody else's object has.
func (k *checker) free(kind schema.GroupVersionKind, name, advice string) {
	if o, _ := k.metadata(kind, k.restore.Namespace, name); o != nil && !owned(o, k.restore.UID) {
		k.refusals = append(k.refusals, rules.Taken(kind.Kind, name, k.restore.Namespace, advice))
	}
}

// strange refuses to give what is here already to a VM whose document may have been
// written by anybody who may write to its target.
func (k *checker) strange(absent []vmspec.Absent) {
	for _, a := range absent {
		kind := kindSecret
		if a.Kind == kindConfigMap.Kind {
			kind = kindConfigMap
		}
		if o, _ := k.metadata(kind, k.restore.Namespace, a.Name); o != nil {
			k.refusals = append(k.refusals, rules.Strange(a.Kind, a.Name, k.restore.Namespace))
		}
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
	k.refusals = append(k.refusals, rules.Absent(kind.Kind, name))
}

func (k *checker) instancetype(kind, name string) {
	gvk, namespace := k.typeOf(kind)
	k.there(gvk, namespace, name)
}

// typeOf is the kind of an instance type or preference, and the namespace that it is in.
func (k *checker) typeOf(kind string) (gvk schema.GroupVersionKind, namespace string) {
	if namespace = k.restore.Namespace; strings.Contains(kind, "Cluster") {
		namespace = ""
	}
	return schema.GroupVersionKind{Group: instancetypeGroup, Version: "v1beta1", Kind: kind}, namespace
}

// withoutDevices refuses an instance type by which a document would get devices of the
// nodes that it gets by no word of its own. One that is missing is refused elsewhere.
func (k *checker) withoutDevices(kind, name string) {
	if k.err != nil {
		return
	}
	gvk, namespace := k.typeOf(kind)
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	err := k.live.Get(k.ctx, client.ObjectKey{Namespace: namespace, Name: name}, u)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
	case err != nil:
		k.err = fmt.Errorf("reading %s %s: %w", kind, name, err)
	default:
		if devices := vmspec.DevicesOf(u); len(devices) > 0 {
			k.refusals = append(k.refusals, rules.Devices(kind, name, devices))
		}
	}
}
