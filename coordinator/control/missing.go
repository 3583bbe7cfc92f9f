package control

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/points"
	"hayloft.dev/coordinator/volumes"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// missing remembers since when something of a point is seen to be missing, and
// which Snapshot objects were seen to go. A new leader begins anew, which only
// makes the grace time longer.
type missing struct {
	mu    sync.Mutex
	first map[types.UID]map[string]time.Time // point -> what -> since when
	gone  map[snapshotKey]time.Time          // when the object of an engine snapshot went
}

// snapshotKey is an engine snapshot. Its name alone is none: a clone has a
// snapshot of the same name as what it was made from.
type snapshotKey struct{ volume, name string }

// goneLimit bounds what is remembered of objects that went: their points are
// looked at within seconds.
const goneLimit = time.Hour

func newMissing() *missing {
	return &missing{first: map[types.UID]map[string]time.Time{}, gone: map[snapshotKey]time.Time{}}
}

// since notes whether something is missing now, and tells since when it is.
func (m *missing) since(point types.UID, what string, missing bool) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !missing {
		delete(m.first[point], what)
		return time.Time{}
	}
	if m.first[point] == nil {
		m.first[point] = map[string]time.Time{}
	}
	at, known := m.first[point][what]
	if !known {
		at = time.Now()
		m.first[point][what] = at
	}
	return at
}

func (m *missing) forget(point types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.first, point)
}

// sawDeleted: the Snapshot object of that engine snapshot existed and was
// deleted.
func (m *missing) sawDeleted(volume, snapshot string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, saw := m.gone[snapshotKey{volume, snapshot}]
	return saw
}

func (m *missing) noteDeleted(o client.Object, deleted bool) {
	s, ok := volumes.CutOf(o)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := snapshotKey{s.Volume, s.Name}
	if !deleted {
		delete(m.gone, key)
		return
	}
	for other, at := range m.gone {
		if time.Since(at) > goneLimit {
			delete(m.gone, other)
		}
	}
	m.gone[key] = time.Now()
}

// changes passes Snapshot objects of ours that come, go or are about to.
func (m *missing) changes() predicate.Predicate {
	ours := func(o client.Object) bool { _, is := names.SnapshotPoint(o.GetName()); return is }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			// A leader that begins looks at each kept point in any case.
			if e.IsInInitialList || !ours(e.Object) {
				return false
			}
			m.noteDeleted(e.Object, false)
			return true
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			s, ok := volumes.CutOf(e.ObjectNew)
			return ok && ours(e.ObjectNew) && s.Going
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			if !ours(e.Object) {
				return false
			}
			m.noteDeleted(e.Object, true)
			return true
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// onlyDeletions passes objects that are gone.
var onlyDeletions = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	UpdateFunc:  func(event.UpdateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// keptIn leads from one of Longhorn's objects to the points that it is a part of:
// from a volume to all that are in it, from a snapshot to its own.
func (c *Controller) keptIn(_ context.Context, o client.Object) []reconcile.Request {
	s, ok := volumes.CutOf(o)
	if !ok {
		return c.kept(c.points.InVolume(o.GetName()))
	}
	point, ours := names.SnapshotPoint(s.Name)
	if !ours {
		return nil
	}
	all, err := c.points.InVolume(s.Volume)
	return c.kept(slices.DeleteFunc(all, func(b *v1alpha1.VMBackup) bool { return b.UID != point }), err)
}

// keptOf leads from a VM to the points that go with it.
func (c *Controller) keptOf(_ context.Context, vm client.Object) []reconcile.Request {
	return c.kept(c.points.OfVM(vm.GetNamespace(), vm.GetName()))
}

// kept leads to those of some points that are kept.
func (c *Controller) kept(all []*v1alpha1.VMBackup, err error) (out []reconcile.Request) {
	if err != nil {
		c.Log.Error("could not find the snapshots that something is a part of", "error", err)
	}
	for _, b := range all {
		if points.Kept(b) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(b)})
		}
	}
	return out
}
