// Package paged fills caches page by page, and keeps of each page what a cache
// keeps of its objects before it asks for the next.
//
// An informer asks for all objects of a kind at once and strips them when it has
// them all: at the start a coordinator of many points would need several times the
// memory that it holds afterwards, and what it holds would lie scattered over all
// of that. For this lists by pages are read at the present revision, as kubectl
// reads them.
//
// It knows nothing of what is cached.
package paged

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Transforms tells what a cache keeps of objects like one; nil: all of it. It must
// be what the informer of the kind is given too, which meets each object again.
type Transforms func(like runtime.Object) cache.TransformFunc

// Informer makes informers that list by pages, for controller-runtime's caches.
func Informer(of Transforms) func(cache.ListerWatcher, runtime.Object, time.Duration, cache.Indexers) cache.SharedIndexInformer {
	return func(lw cache.ListerWatcher, like runtime.Object, resync time.Duration, indexers cache.Indexers) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(listWatch(lw, of(like)), like, resync, indexers)
	}
}

func listWatch(lw cache.ListerWatcher, transform cache.TransformFunc) cache.ListerWatcher {
	from := cache.ToListerWatcherWithContext(lw)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			page, err := from.ListWithContext(ctx, paged(o))
			if err != nil || transform == nil {
				return page, err
			}
			return shortened(page, transform)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return from.WatchWithContext(ctx, o)
		},
	}
}

// paged asks for the present state where a list is to come by pages. At any
// revision ("0"), as an informer's first list is asked for, the API server answers
// from its watch cache, with all there is. At a revision it takes a list by pages to
// be of just that one, and not of a newer one as it does without a limit: who has to
// list again, since that revision is too old to be watched on from, would get it
// again until it is compacted. A request without a limit is left alone: its answer
// is taken for the whole.
func paged(o metav1.ListOptions) metav1.ListOptions {
	if o.Limit > 0 && o.Continue == "" {
		o.ResourceVersion, o.ResourceVersionMatch = "", ""
	}
	return o
}

// shortened is a list of what is kept of another's objects.
func shortened(page runtime.Object, transform cache.TransformFunc) (runtime.Object, error) {
	from, err := meta.ListAccessor(page)
	if err != nil {
		return nil, fmt.Errorf("reading a page of a list: %w", err)
	}
	out := &internalversion.List{ListMeta: metav1.ListMeta{
		ResourceVersion: from.GetResourceVersion(), Continue: from.GetContinue(), RemainingItemCount: from.GetRemainingItemCount(),
	}}
	err = meta.EachListItemWithAlloc(page, func(o runtime.Object) error {
		kept, err := transform(o)
		if err != nil {
			return err
		}
		object, ok := kept.(runtime.Object)
		if !ok {
			return fmt.Errorf("what is kept of %T is no object: %T", o, kept)
		}
		out.Items = append(out.Items, object)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("shortening the objects of a list: %w", err)
	}
	return out, nil
}
