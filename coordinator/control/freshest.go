package control

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// lagLimit is how long a cache is given to show what was written.
const lagLimit = 10 * time.Second

// freshest bridges the moment between a write and its arrival in the cache, so
// that nothing is decided twice on an object as it was before.
type freshest[T client.Object] struct {
	mu  sync.Mutex
	own map[types.UID]written[T]
}

type written[T client.Object] struct {
	object T
	// before are the resource versions that the write replaced.
	before map[string]bool
	at     time.Time
}

func newFreshest[T client.Object]() *freshest[T] {
	return &freshest[T]{own: map[types.UID]written[T]{}}
}

// wrote notes an object as the API server returned it from a write, and the
// resource version that it had before ("" when it was created).
func (f *freshest[T]) wrote(o T, before string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.own[o.GetUID()]
	if w.before == nil {
		w.before = map[string]bool{}
	} else {
		w.before[w.object.GetResourceVersion()] = true
	}
	w.before[before] = true
	if o.GetDeletionTimestamp().IsZero() || len(o.GetFinalizers()) > 0 {
		delete(w.before, o.GetResourceVersion()) // a write that changed nothing
	} else {
		// It is gone: the server answers with the version that it had before.
		w.before[o.GetResourceVersion()] = true
	}
	w.object, w.at = o, time.Now()
	f.own[o.GetUID()] = w
}

// latest is the cached object, or our own newer version of it.
func (f *freshest[T]) latest(cached T) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.own[cached.GetUID()]
	if !ok {
		return cached
	}
	if w.before[cached.GetResourceVersion()] && time.Since(w.at) < lagLimit {
		return w.object.DeepCopyObject().(T)
	}
	delete(f.own, cached.GetUID())
	return cached
}

// missing are the objects of those wanted that were created lately and are not
// among seen.
func (f *freshest[T]) missing(seen map[types.UID]bool, wanted func(T) bool) []T {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []T
	for uid, w := range f.own {
		switch {
		case seen[uid] || !wanted(w.object):
		case w.before[""] && time.Since(w.at) < lagLimit:
			out = append(out, w.object.DeepCopyObject().(T))
		default:
			delete(f.own, uid)
		}
	}
	return out
}

func (f *freshest[T]) forget(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.own, uid)
}
