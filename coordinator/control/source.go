package control

import (
	"context"
	"encoding/json"
	"fmt"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// KubeVirt's kinds, read as they are so that unknown fields survive.
var (
	kindVM  = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachine"}
	kindVMI = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachineInstance"}
)

// source resolves the VM of a point; nil: there is no such VM. The VM is read
// live, its storage from the cache.
func (c *Controller) source(ctx context.Context, b *v1alpha1.VMBackup) (*rules.Source, definition, error) {
	var d definition
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { d.vm, err = c.readSoon(gctx, kindVM, b.Namespace, b.Spec.VM); return err })
	g.Go(func() (err error) { d.vmi, err = c.readSoon(gctx, kindVMI, b.Namespace, b.Spec.VM); return err })
	if err := g.Wait(); err != nil || d.vm == nil {
		return nil, d, err
	}
	out, claims, err := c.resolve(ctx, c.cache, b, d.vm, d.vmi)
	if err == nil && len(out.Refusals) > 0 {
		// The cache may not show yet that a claim is bound, say.
		out, claims, err = c.resolve(ctx, c.live, b, d.vm, d.vmi)
	}
	d.claims = claims
	return &out, d, err
}

// definition is what a VM was resolved by; vmi is nil when it does not run.
type definition struct {
	vm, vmi *unstructured.Unstructured
	claims  map[string]*corev1.PersistentVolumeClaim
}

// capturedSource is source for a point that may begin: what was read is kept for
// the capture.
func (r *backups) capturedSource(ctx context.Context, b *v1alpha1.VMBackup) (*rules.Source, error) {
	out, d, err := r.source(ctx, b)
	if err != nil || out == nil {
		return nil, err
	}
	given, err := r.captureSource(ctx, d.vm, d.vmi, d.claims)
	if err != nil {
		return nil, err
	}
	r.captures.put(b.UID, given)
	return out, nil
}

// resolve finds the VM's disks by what from says of its storage.
func (c *Controller) resolve(ctx context.Context, from client.Reader, b *v1alpha1.VMBackup, vm, vmi *unstructured.Unstructured) (rules.Source, map[string]*corev1.PersistentVolumeClaim, error) {
	namespace := b.Namespace
	var claims corev1.PersistentVolumeClaimList
	how := []client.ListOption{client.InNamespace(namespace)}
	if from == c.cache {
		how = append(how, client.UnsafeDisableDeepCopy) // they are only looked at
	}
	if err := from.List(ctx, &claims, how...); err != nil {
		return rules.Source{}, nil, fmt.Errorf("listing the claims in namespace %s: %w", namespace, err)
	}
	contents, refusals := vmspec.Inspect(vm, vmi, claims.Items)
	contents, refusals = vmspec.Select(contents, refusals, b.Spec.IncludeDisks, b.Spec.ExcludeDisks)
	storage, err := c.storage(ctx, from, namespace, contents.Disks)
	if err != nil {
		return rules.Source{}, nil, err
	}
	return rules.Resolve(vm.GetUID(), contents, refusals, storage), storage.Claims, nil
}

// captureSource is what the target worker need not read again when it captures
// the VM. Of a VM that is refused it is never used.
func (r *backups) captureSource(ctx context.Context, vm, vmi *unstructured.Unstructured, claims map[string]*corev1.PersistentVolumeClaim) (*protocol.CaptureSource, error) {
	out := &protocol.CaptureSource{Claims: map[string]json.RawMessage{}}
	var err error
	if out.ClusterUID, err = r.clusterUID(ctx); err != nil {
		return nil, err
	}
	if out.VM, err = json.Marshal(vm); err != nil {
		return nil, fmt.Errorf("writing VM %s as JSON: %w", vm.GetName(), err)
	}
	if vmi != nil {
		if out.VMI, err = json.Marshal(vmi); err != nil {
			return nil, fmt.Errorf("writing the instance of VM %s as JSON: %w", vm.GetName(), err)
		}
	}
	for name, c := range claims {
		c = c.DeepCopy()
		c.SetGroupVersionKind(kindClaim)
		if out.Claims[name], err = json.Marshal(c); err != nil {
			return nil, fmt.Errorf("writing claim %s as JSON: %w", name, err)
		}
	}
	return out, nil
}

// clusterUID is that of the namespace kube-system, which lives as long as its
// cluster.
func (r *backups) clusterUID(ctx context.Context) (types.UID, error) {
	r.clusterMu.Lock()
	defer r.clusterMu.Unlock()
	if r.cluster == "" {
		var o metav1.PartialObjectMetadata
		o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		if err := r.live.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &o); err != nil {
			return "", fmt.Errorf("reading namespace %s, whose UID names the cluster: %w", metav1.NamespaceSystem, err)
		}
		r.cluster = o.UID
	}
	return r.cluster, nil
}

// read returns an object live, nil when it or its kind does not exist.
func (c *Controller) read(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	err := c.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, u)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s %s/%s: %w", kind.Kind, namespace, name, err)
	}
	return u, nil
}

// get reads an object from the cache, and live when the cache does not have it
// (yet); it tells whether there is one.
func (c *Controller) get(ctx context.Context, namespace, name string, o client.Object) (bool, error) {
	ok, err := getFrom(ctx, c.cache, namespace, name, o)
	if err != nil || ok {
		return ok, err
	}
	return getFrom(ctx, c.live, namespace, name, o)
}

func getFrom(ctx context.Context, from client.Reader, namespace, name string, o client.Object) (bool, error) {
	err := from.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %T %s: %w", o, name, err)
	}
	return true, nil
}

// storage follows each disk's claim to its Longhorn volume.
func (c *Controller) storage(ctx context.Context, from client.Reader, namespace string, disks []vmspec.Disk) (rules.Storage, error) {
	s := rules.Storage{
		Claims: map[string]*corev1.PersistentVolumeClaim{}, Volumes: map[string]*corev1.PersistentVolume{},
		Longhorn: map[string]*longhorn.Volume{}, Images: map[string]*longhorn.BackingImage{},
		Displayed: map[string]string{},
	}
	for _, d := range disks {
		claim := &corev1.PersistentVolumeClaim{}
		if ok, err := getFrom(ctx, from, namespace, d.Claim, claim); err != nil || !ok {
			if err != nil {
				return s, err
			}
			continue
		}
		s.Claims[d.Claim] = claim
		if claim.Spec.VolumeName == "" {
			continue
		}
		pv := &corev1.PersistentVolume{}
		if ok, err := getFrom(ctx, from, "", claim.Spec.VolumeName, pv); err != nil || !ok {
			if err != nil {
				return s, err
			}
			continue
		}
		s.Volumes[pv.Name] = pv
		if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != rules.Driver {
			continue
		}
		vol := &longhorn.Volume{}
		if ok, err := getFrom(ctx, from, c.LonghornNamespace, pv.Spec.CSI.VolumeHandle, vol); err != nil || !ok {
			if err != nil {
				return s, err
			}
			continue
		}
		s.Longhorn[vol.Name] = vol
		if vol.Spec.BackingImage == "" {
			continue
		}
		image := &longhorn.BackingImage{}
		err := c.live.Get(ctx, client.ObjectKey{Namespace: c.LonghornNamespace, Name: vol.Spec.BackingImage}, image)
		if client.IgnoreNotFound(err) != nil {
			return s, fmt.Errorf("reading backing image %s: %w", vol.Spec.BackingImage, err)
		}
		if err == nil {
			s.Images[image.Name] = image
			s.Displayed[image.Name] = c.displayed(ctx, image)
		}
	}
	return s, nil
}

// displayed is the name that people see of a backing image of Harvester's. A point is
// none the worse without it.
func (c *Controller) displayed(ctx context.Context, image *longhorn.BackingImage) string {
	namespace, name, ok := rules.ImageOf(image)
	if !ok {
		return ""
	}
	o, _, err := c.lookFor(ctx, kindImage, namespace, name)
	if err != nil || o == nil {
		return ""
	}
	return o.Labels[labelDisplayName]
}
