package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// In a rush many objects of a namespace are read within a second, each by a request of
// its own. rushed reads them all with one, and takes that for as good as reading each:
// for a moment, which everybody who reads one and then acts on it takes as well.

const (
	// rushedAge is for how long what was listed counts as read now.
	rushedAge = recordAge / 2
	// rushedMost is how many objects a list has at most.
	rushedMost = 500
)

// listPays tells whether a list of a namespace costs less than reading those alone that
// are still to come: an object in a list costs a fraction of a request.
func listPays(coming, existing int) bool {
	return coming >= 4 && existing <= min(4*coming, rushedMost)
}

// rushed lists objects live for those who read them one by one.
type rushed struct {
	live client.Reader

	mu sync.Mutex
	of map[rushedKey]*rushedList
}

type rushedKey struct {
	kind      schema.GroupVersionKind
	namespace string
}

type rushedList struct {
	asked time.Time
	done  chan struct{} // closed when what follows is known
	of    map[string]client.Object
	err   error
}

// errNotListed: it is to be read by itself.
var errNotListed = errors.New("nobody has listed it")

func newRushed(live client.Reader) *rushed {
	return &rushed{live: live, of: map[rushedKey]*rushedList{}}
}

// get is an object by a list that was asked for a moment ago, or else, if that pays, is
// asked for now; nil: there is none. It is shared, to be read only. into is a list of its
// kind.
func (r *rushed) get(ctx context.Context, into client.ObjectList, key client.ObjectKey, pays bool) (client.Object, error) {
	of := rushedKey{into.GetObjectKind().GroupVersionKind(), key.Namespace}
	r.mu.Lock()
	l := r.of[of]
	if l == nil || age(l.asked) > rushedAge {
		if !pays {
			r.mu.Unlock()
			return nil, errNotListed
		}
		l = &rushedList{asked: time.Now(), done: make(chan struct{})}
		r.of[of] = l
		// Not by the context of whoever came first: others wait for it too.
		go r.list(context.WithoutCancel(ctx), of, l, into)
	}
	r.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.done:
	}
	return l.of[key.Name], l.err
}

func (r *rushed) list(ctx context.Context, of rushedKey, l *rushedList, into client.ObjectList) {
	defer func() {
		if l.err != nil {
			r.drop(of, l)
		}
		close(l.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, makeDeadline)
	defer cancel()
	err := r.live.List(ctx, into, client.InNamespace(of.namespace), client.Limit(rushedMost))
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err): // there is no such kind
		return
	case apierrors.IsForbidden(err): // reading each may be allowed
		l.err = errNotListed
		return
	case err != nil:
		l.err = fmt.Errorf("listing %s of namespace %s: %w", of.kind.Kind, of.namespace, err)
		return
	case into.GetContinue() != "":
		l.err = errNotListed
		return
	}
	l.of = map[string]client.Object{}
	l.err = meta.EachListItem(into, func(o runtime.Object) error {
		if o, ok := o.(client.Object); ok {
			l.of[o.GetName()] = o
		}
		return nil
	})
}

// drop has the next one ask again.
func (r *rushed) drop(of rushedKey, l *rushedList) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[of] == l {
		delete(r.of, of)
	}
}

// over forgets all that was listed.
func (r *rushed) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.of)
}

// readSoon is read for one of many points that begin now.
func (c *Controller) readSoon(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	coming := c.newcomers.coming(namespace)
	o, err := c.rushed.get(ctx, list, client.ObjectKey{Namespace: namespace, Name: name}, coming > 0 && listPays(coming, c.objects.countVMs(namespace)))
	switch {
	case errors.Is(err, errNotListed):
		return c.read(ctx, kind, namespace, name)
	case err != nil || o == nil:
		return nil, err
	}
	return o.(*unstructured.Unstructured), nil
}
