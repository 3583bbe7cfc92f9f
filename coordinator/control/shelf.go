package control

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/catalog"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/pkg/target"
	"hayloft.dev/pkg/version"
)

// What is known of a target outlives the leader in ConfigMaps of Hayloft's
// namespace, not on the target: a target is shared, and whoever could write the
// index could hide points from this cluster or bring forgotten ones back. They
// belong to the BackupTarget and go with it, so that a target that is made anew
// finds everything again.
//
// They are in parts, by document and by point, so that each fits an object and a
// change writes only a part. They are not watched: the index is read once by each
// leader, the graves before each refresh.

const (
	shelfIndex  = v1alpha1.KeptIndex
	shelfGraves = v1alpha1.KeptGraves

	keyIndex   = "index.json.gz"
	keyPlace   = "place"   // of what keyIndex is the index
	keyRelease = "release" // that has written it
)

// whereabouts tells where a target is. It says nothing of keys or of the way there.
func whereabouts(t *v1alpha1.BackupTarget) string {
	if t.Spec.S3 != nil {
		return t.Spec.S3.Endpoint + " " + target.Place(t.Spec)
	}
	return target.Place(t.Spec)
}

// shelfName is one part of what is kept of a target.
func shelfName(target types.UID, kind, part string) string {
	return fmt.Sprintf("hayloft-%s-%s-%s", kind, names.Short(string(target)), part)
}

// shelved reads what is kept of a target, of one kind.
func (c *Controller) shelved(ctx context.Context, target types.UID, kind string) ([]corev1.ConfigMap, error) {
	var list corev1.ConfigMapList
	err := c.live.List(ctx, &list, client.InNamespace(c.Namespace), client.MatchingLabels{
		v1alpha1.LabelTarget: string(target), v1alpha1.LabelKept: kind,
	})
	if err != nil {
		return nil, fmt.Errorf("reading what is known of the target: %w", err)
	}
	return list.Items, nil
}

// shelve merges data into one part of what is kept of a target, and makes it when
// there is none. A value of nil removes its key.
func (c *Controller) shelve(ctx context.Context, t *v1alpha1.BackupTarget, kind, part string, field string, data map[string]any) error {
	m := &corev1.ConfigMap{}
	m.Namespace, m.Name = c.Namespace, shelfName(t.UID, kind, part)
	patch, err := json.Marshal(map[string]any{field: data})
	if err != nil {
		return fmt.Errorf("preparing ConfigMap %s: %w", m.Name, err)
	}
	merge := client.RawPatch(types.MergePatchType, patch)
	err = c.client.Patch(ctx, m, merge)
	if !apierrors.IsNotFound(err) {
		return wrapShelf(m.Name, err)
	}
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: c.Namespace, Name: m.Name,
		Labels: map[string]string{v1alpha1.LabelTarget: string(t.UID), v1alpha1.LabelKept: kind},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "BackupTarget", Name: t.Name, UID: t.UID,
		}},
	}}
	if err := c.client.Create(ctx, made); err != nil && !apierrors.IsAlreadyExists(err) {
		return wrapShelf(m.Name, err)
	}
	return wrapShelf(m.Name, c.client.Patch(ctx, m, merge))
}

func wrapShelf(name string, err error) error {
	if err != nil {
		return fmt.Errorf("writing ConfigMap %s: %w", name, err)
	}
	return nil
}

// loadIndex reads the index of a target. A part that cannot be read is as good as
// none: what it would tell is read again. So is one of another place, where the
// target was before: its documents have not gone from here.
func (c *Controller) loadIndex(t *v1alpha1.BackupTarget, parts []corev1.ConfigMap) *catalog.Index {
	x, another := catalog.NewIndex(), false
	for _, m := range parts {
		for shard := range catalog.Shards {
			if m.Name != shelfName(t.UID, shelfIndex, fmt.Sprintf("%x", shard)) {
				continue
			}
			if at, written := m.BinaryData[keyPlace]; written && string(at) != whereabouts(t) {
				continue
			}
			if err := x.Unpack(shard, m.BinaryData[keyIndex]); err != nil {
				c.Log.Warn("a part of a target's index is not used", "target", t.Name, "configmap", m.Name, "error", err)
			}
			another = another || string(m.BinaryData[keyRelease]) != version.Version
		}
	}
	if another {
		x.Doubt()
	}
	return x
}

// storeIndex writes the parts of an index that have changed.
func (c *Controller) storeIndex(ctx context.Context, t *v1alpha1.BackupTarget, x *catalog.Index) error {
	for _, shard := range x.Dirty() {
		data, err := x.Pack(shard)
		if err != nil {
			return err
		}
		if err := c.shelve(ctx, t, shelfIndex, fmt.Sprintf("%x", shard), "binaryData", map[string]any{
			keyIndex: data, keyPlace: []byte(whereabouts(t)), keyRelease: []byte(version.Version),
		}); err != nil {
			return err
		}
		x.Stored(shard)
	}
	return nil
}
