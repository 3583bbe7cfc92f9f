package points

import (
	"fmt"
	"iter"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Indexes of the cache's store. controller-runtime's own have each value twice,
// for one namespace and for all, and a list by them copies what it finds.
const (
	ofVM       = "hayloft.vm"       // by namespace and VM
	ofSchedule = "hayloft.schedule" // by the UID of the VMSchedule that made it
	inVolume   = "hayloft.volume"   // of type Snapshot, once Ready, by the Longhorn volumes
)

// Index finds points in the cache. What it returns is to be read only.
type Index struct {
	store toolscache.Indexer
	feeds *feeds
}

// NewIndex takes the informer of VMBackups, whose transformation is a Packer's,
// before it is started.
func NewIndex(informer cache.Informer) (Index, error) {
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return Index{}, fmt.Errorf("the cache of VMBackups has no indexes: it is %T", informer)
	}
	one := func(key func(*v1alpha1.VMBackup) string) toolscache.IndexFunc {
		return by(func(b *v1alpha1.VMBackup) []string {
			if k := key(b); k != "" {
				return []string{k}
			}
			return nil
		})
	}
	followed := &feeds{}
	err := shared.AddIndexers(toolscache.Indexers{
		ofVM:       one(func(b *v1alpha1.VMBackup) string { return b.Namespace + "/" + b.Spec.VM }),
		ofSchedule: one(func(b *v1alpha1.VMBackup) string { return b.Labels[v1alpha1.LabelSchedule] }),
		inVolume:   by(volumes),
		notes:      followed.note,
	})
	if err != nil {
		return Index{}, fmt.Errorf("adding the indexes of VMBackups: %w", err)
	}
	return Index{shared.GetIndexer(), followed}, nil
}

func by(keys func(*v1alpha1.VMBackup) []string) toolscache.IndexFunc {
	return func(o any) ([]string, error) {
		b := &v1alpha1.VMBackup{}
		if !outline(o, &b) {
			return nil, nil
		}
		return keys(b), nil
	}
}

// volumes are those that hold a point of type Snapshot.
func volumes(b *v1alpha1.VMBackup) (out []string) {
	if !Kept(b) {
		return nil
	}
	for _, d := range b.Status.Disks {
		out = append(out, d.Volume)
	}
	return out
}

// Kept: a point of type Snapshot that was Ready once and is to stay.
func Kept(b *v1alpha1.VMBackup) bool {
	return b.Spec.Type == v1alpha1.TypeSnapshot && b.DeletionTimestamp.IsZero() &&
		(b.Status.Phase == v1alpha1.BackupReady || b.Status.Phase == v1alpha1.BackupDataLost)
}

// outline makes b what is known of a stored point, without what All leaves out of
// one at rest, for which what b had before is used again.
func outline(o any, b **v1alpha1.VMBackup) bool {
	switch o := o.(type) {
	case *v1alpha1.VMBackup:
		*b = o
	case *Resting:
		o.outline(*b)
	default:
		return false
	}
	return true
}

// Get finds a point by its name.
func (x Index) Get(key client.ObjectKey) (Known, bool, error) {
	o, ok, err := x.store.GetByKey(key.String())
	if err != nil {
		return Known{}, false, fmt.Errorf("looking for VMBackup %s in the cache: %w", key, err)
	}
	if !ok {
		return Known{}, false, nil
	}
	k, ok := Of(o)
	return k, ok, nil
}

// OfVM are the points of a VM, those that were found on targets among them.
func (x Index) OfVM(namespace, vm string) ([]*v1alpha1.VMBackup, error) {
	return x.by(ofVM, namespace+"/"+vm)
}

// OfSchedule are the points that a schedule made, by its UID.
func (x Index) OfSchedule(uid string) ([]*v1alpha1.VMBackup, error) { return x.by(ofSchedule, uid) }

// InVolume are the points of type Snapshot that are kept in a Longhorn volume.
func (x Index) InVolume(volume string) ([]*v1alpha1.VMBackup, error) { return x.by(inVolume, volume) }

// InNamespace are the points of a namespace.
func (x Index) InNamespace(namespace string) ([]*v1alpha1.VMBackup, error) {
	return x.by(toolscache.NamespaceIndex, namespace)
}

func (x Index) by(index, value string) ([]*v1alpha1.VMBackup, error) {
	found, err := x.store.ByIndex(index, value)
	if err != nil {
		return nil, fmt.Errorf("looking into the cache of VMBackups: %w", err)
	}
	out := make([]*v1alpha1.VMBackup, 0, len(found))
	for _, o := range found {
		if k, ok := Of(o); ok {
			out = append(out, k.Point())
		}
	}
	return out, nil
}

// OnTarget are the points on a target.
func (x Index) OnTarget(target string) iter.Seq[*v1alpha1.VMBackup] {
	return x.each(func(spec *v1alpha1.VMBackupSpec) bool { return spec.Target == target })
}

// Each are all points, with all that is known of them.
func (x Index) Each() iter.Seq[*v1alpha1.VMBackup] {
	return x.each(func(*v1alpha1.VMBackupSpec) bool { return true })
}

func (x Index) each(wanted func(*v1alpha1.VMBackupSpec) bool) iter.Seq[*v1alpha1.VMBackup] {
	return func(yield func(*v1alpha1.VMBackup) bool) {
		for _, o := range x.store.List() {
			if r, ok := o.(*Resting); ok && !wanted(&r.like.spec) {
				continue
			}
			if k, ok := Of(o); ok && wanted(&k.point.Spec) && !yield(k.point) {
				return
			}
		}
	}
}

// All are all points, each to be looked at until the next one comes. Of those at
// rest UID, annotations, document and names of backups and engine snapshots are not
// told.
func (x Index) All() iter.Seq[*v1alpha1.VMBackup] {
	return func(yield func(*v1alpha1.VMBackup) bool) {
		again := &v1alpha1.VMBackup{}
		for _, o := range x.store.List() {
			b := again
			if outline(o, &b) && !yield(b) {
				return
			}
		}
	}
}
