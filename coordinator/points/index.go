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
	followed := &feeds{}
	err := shared.AddIndexers(toolscache.Indexers{
		ofVM: func(o any) ([]string, error) {
			namespace, vm, ok := vmOf(o)
			if !ok {
				return nil, nil
			}
			return []string{namespace + "/" + vm}, nil
		},
		ofSchedule: func(o any) ([]string, error) {
			if s := scheduleOf(o); s != "" {
				return []string{s}, nil
			}
			return nil, nil
		},
		inVolume: func(o any) ([]string, error) { return volumes(o), nil },
		notes:    followed.note,
	})
	if err != nil {
		return Index{}, fmt.Errorf("adding the indexes of VMBackups: %w", err)
	}
	return Index{shared.GetIndexer(), followed}, nil
}

// The keys of indexes are asked for with each change of a point, and at the start for
// all of them: of one at rest nothing is told for them.

func vmOf(o any) (namespace, vm string, ok bool) {
	switch o := o.(type) {
	case *v1alpha1.VMBackup:
		return o.Namespace, o.Spec.VM, true
	case *Resting:
		return o.like.namespace, o.like.spec.VM, true
	}
	return "", "", false
}

func scheduleOf(o any) string {
	switch o := o.(type) {
	case *v1alpha1.VMBackup:
		return o.Labels[v1alpha1.LabelSchedule]
	case *Resting:
		return o.like.schedule()
	}
	return ""
}

// volumes are those that hold a point of type Snapshot.
func volumes(o any) (out []string) {
	switch o := o.(type) {
	case *v1alpha1.VMBackup:
		if Kept(o) {
			for i := range o.Status.Disks {
				out = append(out, o.Status.Disks[i].Volume)
			}
		}
	case *Resting:
		if o.like.spec.Type == v1alpha1.TypeSnapshot {
			for i := range o.like.disks {
				out = append(out, o.like.disks[i].volume)
			}
		}
	}
	return out
}

// Kept: a point of type Snapshot that was Ready once and is to stay.
func Kept(b *v1alpha1.VMBackup) bool {
	return b.Spec.Type == v1alpha1.TypeSnapshot && b.DeletionTimestamp.IsZero() &&
		(b.Status.Phase == v1alpha1.BackupReady || b.Status.Phase == v1alpha1.BackupDataLost)
}

// outline is what is known of a stored point, without what All leaves out of one at
// rest, which is written into the sketch.
func outline(o any, into *sketch) (*v1alpha1.VMBackup, bool) {
	switch o := o.(type) {
	case *v1alpha1.VMBackup:
		return o, true
	case *Resting:
		b, _ := o.outline(into)
		return b, true
	}
	return nil, false
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
// rest name, UID, version, annotations, document and names of backups and engine
// snapshots are not told.
func (x Index) All() iter.Seq[*v1alpha1.VMBackup] { return outlines(x.store.List(), &sketch{}) }

// outlines are stored points, one after the other.
func outlines(of []any, into *sketch) iter.Seq[*v1alpha1.VMBackup] {
	return func(yield func(*v1alpha1.VMBackup) bool) {
		for _, o := range of {
			if b, ok := outline(o, into); ok && !yield(b) {
				return
			}
		}
	}
}
