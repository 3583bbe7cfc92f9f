package volumes

import (
	"context"
	"fmt"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Indexes of the caches' stores.
const (
	byRestore = "hayloft.restore" // Volume by the VMRestore that has made it
	byVolume  = "hayloft.volume"  // Snapshot by its volume
)

// Reader reads from caches. Records it tells as the objects that they are of.
type Reader struct {
	client.Reader
	volumes, snapshots, persistent store
}

type store struct {
	toolscache.Indexer
	kind   schema.GroupResource
	filled func() bool
}

// NewReader takes caches before they are started, whose transformations are
// KeepVolume, KeepSnapshot and KeepPersistent.
func NewReader(ctx context.Context, caches cache.Cache) (*Reader, error) {
	r := &Reader{Reader: caches}
	for _, s := range []struct {
		of   client.Object
		kind schema.GroupResource
		to   *store
		by   toolscache.Indexers
	}{
		{&longhorn.Volume{}, longhorn.Resource("volumes"), &r.volumes, toolscache.Indexers{byRestore: index(restoreOf)}},
		{&longhorn.Snapshot{}, longhorn.Resource("snapshots"), &r.snapshots, toolscache.Indexers{byVolume: index(volumeOf)}},
		{&corev1.PersistentVolume{}, corev1.Resource("persistentvolumes"), &r.persistent, nil},
	} {
		informer, err := caches.GetInformer(ctx, s.of, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", s.kind, err)
		}
		shared, ok := informer.(toolscache.SharedIndexInformer)
		if !ok {
			return nil, fmt.Errorf("the cache of %s has no store: it is %T", s.kind, informer)
		}
		if err := shared.AddIndexers(s.by); err != nil {
			return nil, fmt.Errorf("adding the indexes of %s: %w", s.kind, err)
		}
		*s.to = store{shared.GetIndexer(), s.kind, shared.HasSynced}
	}
	return r, nil
}

func index(key func(any) string) toolscache.IndexFunc {
	return func(o any) ([]string, error) {
		if k := key(o); k != "" {
			return []string{k}, nil
		}
		return nil, nil
	}
}

func restoreOf(o any) string {
	switch o := o.(type) {
	case *Volume:
		return o.restore
	case *longhorn.Volume:
		return o.Labels[v1alpha1.LabelRestore]
	}
	return ""
}

func volumeOf(o any) string {
	switch o := o.(type) {
	case *Snapshot:
		return o.volume
	case *longhorn.Snapshot:
		return o.Spec.Volume
	}
	return ""
}

// Get reads an object.
func (r *Reader) Get(ctx context.Context, key client.ObjectKey, to client.Object, opts ...client.GetOption) error {
	switch to := to.(type) {
	case *longhorn.Volume:
		return get(&r.volumes, key, func(o any) bool { return tellVolume(o, to) })
	case *longhorn.Snapshot:
		return get(&r.snapshots, key, func(o any) bool { return tellSnapshot(o, to) })
	case *corev1.PersistentVolume:
		return get(&r.persistent, key, func(o any) bool { return tellPersistent(o, to) })
	}
	return r.Reader.Get(ctx, key, to, opts...)
}

func get(from *store, key client.ObjectKey, tell func(any) bool) error {
	if !from.filled() {
		return from.unfilled()
	}
	name := key.Name
	if key.Namespace != "" {
		name = key.String()
	}
	o, ok, err := from.GetByKey(name)
	switch {
	case err != nil:
		return fmt.Errorf("looking into the cache of %s: %w", from.kind, err)
	case !ok:
		return apierrors.NewNotFound(from.kind, key.Name)
	case !tell(o):
		return fmt.Errorf("a %T was found in the cache of %s", o, from.kind)
	}
	return nil
}

// unfilled: what a cache lacks that is not filled yet, may well exist.
func (s *store) unfilled() error {
	return fmt.Errorf("the cache of %s is not filled yet", s.kind)
}

// by are the objects with a value in an index.
func (s *store) by(index, value string) ([]any, error) {
	if !s.filled() {
		return nil, s.unfilled()
	}
	found, err := s.ByIndex(index, value)
	if err != nil {
		return nil, fmt.Errorf("looking into the cache of %s: %w", s.kind, err)
	}
	return found, nil
}

// Volumes tells of each volume that there is, by its name.
func (r *Reader) Volumes() (map[string]bool, error) {
	if !r.volumes.filled() {
		return nil, r.volumes.unfilled()
	}
	all := r.volumes.List()
	out := make(map[string]bool, len(all))
	for _, o := range all {
		if v, ok := o.(client.Object); ok {
			out[v.GetName()] = true
		}
	}
	return out, nil
}

// Has tells, of caches that show it, that a volume exists and has an engine snapshot that
// is there to stay. A clone has a snapshot of the same name: that of another volume says
// nothing.
func (r *Reader) Has(namespace, volume, snapshot string) bool {
	key := func(name string) string { return client.ObjectKey{Namespace: namespace, Name: name}.String() }
	_, exists, err := r.volumes.GetByKey(key(volume))
	if err != nil || !exists {
		return false
	}
	o, exists, err := r.snapshots.GetByKey(key(snapshot))
	cut, ok := CutOf(o)
	return err == nil && exists && ok && cut.Volume == volume && !cut.Going
}

// Node is where a volume is attached, as the cache shows it; "" for nowhere, or when it
// shows no such volume.
func (r *Reader) Node(volume client.ObjectKey) string {
	o, _, err := r.volumes.GetByKey(volume.String())
	if err != nil {
		return ""
	}
	_, node, _ := Attached(o)
	return node
}

// OfRestore are the volumes that a VMRestore has made, by its UID.
func (r *Reader) OfRestore(uid string) ([]longhorn.Volume, error) {
	found, err := r.volumes.by(byRestore, uid)
	if err != nil {
		return nil, err
	}
	out := make([]longhorn.Volume, len(found))
	for i, o := range found {
		tellVolume(o, &out[i])
	}
	return out, nil
}

// SnapshotBytes is what the snapshots of a volume take together.
func (r *Reader) SnapshotBytes(volume string) (sum int64, err error) {
	found, err := r.snapshots.by(byVolume, volume)
	if err != nil {
		return 0, err
	}
	for _, o := range found {
		switch s := o.(type) {
		case *Snapshot:
			sum += s.size
		case *longhorn.Snapshot:
			sum += s.Status.Size
		}
	}
	return sum, nil
}

func tellVolume(o any, to *longhorn.Volume) bool {
	switch o := o.(type) {
	case *Volume:
		o.tell(to)
	case *longhorn.Volume:
		o.DeepCopyInto(to)
	default:
		return false
	}
	return true
}

func tellSnapshot(o any, to *longhorn.Snapshot) bool {
	switch o := o.(type) {
	case *Snapshot:
		o.tell(to)
	case *longhorn.Snapshot:
		o.DeepCopyInto(to)
	default:
		return false
	}
	return true
}

// Attached tells of a volume in an event where it is attached, "" for nowhere; false:
// it is none.
func Attached(o any) (volume, node string, ok bool) {
	switch v := o.(type) {
	case *Volume:
		return v.name, v.Node(), true
	case *longhorn.Volume:
		return v.Name, v.Status.CurrentNodeID, true
	}
	return "", "", false
}

// Cut is an engine snapshot, as an event tells of it.
type Cut struct {
	Volume, Name string
	// Going: it is being removed.
	Going bool
}

// CutOf is the snapshot in an event; false: it is none.
func CutOf(o any) (Cut, bool) {
	switch s := o.(type) {
	case *Snapshot:
		return Cut{s.volume, s.name, s.removed || s.deleting != nil}, true
	case *longhorn.Snapshot:
		return Cut{s.Spec.Volume, s.Name, s.Status.MarkRemoved || s.DeletionTimestamp != nil}, true
	}
	return Cut{}, false
}
