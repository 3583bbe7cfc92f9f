package attach

import (
	"context"
	"errors"
	"fmt"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// awaitEngine waits until exactly one engine of the volume runs, on a node that
// will do. While two do, a live migration is waited for.
func (a *Attacher) awaitEngine(ctx context.Context, volume string, on func(node string) bool) (Location, error) {
	loc, err := a.locateOn(ctx, volume, on)
	if !waits(err) {
		return loc, err
	}
	opts := []client.ListOption{client.InNamespace(a.Namespace), client.MatchingLabels{labelVolume: volume}}
	for {
		var list longhorn.EngineList
		ok, werr := a.watchOnce(ctx, &list, "", opts, func(watch.EventType, client.Object) (bool, error) {
			// An event tells of one engine, and there may be two.
			loc, err = a.locateOn(ctx, volume, on)
			return !waits(err), nil
		})
		if ok {
			return loc, err
		}
		if werr != nil && ctx.Err() == nil {
			return Location{}, werr
		}
		if rerr := rest(ctx); rerr != nil {
			return Location{}, fmt.Errorf("waiting for the engine of volume %s: %w (%w)", volume, rerr, err)
		}
	}
}

func (a *Attacher) locateOn(ctx context.Context, volume string, on func(node string) bool) (Location, error) {
	loc, err := a.Locate(ctx, volume)
	if err == nil && !on(loc.Node) {
		err = fmt.Errorf("volume %s: its engine on node %s is about to end: %w", volume, loc.Node, ErrNotAttached)
	}
	return loc, err
}

// waits: what was found will be otherwise soon.
func waits(err error) bool { return errors.Is(err, ErrNotAttached) || errors.Is(err, ErrMigrating) }

// await looks at one of Longhorn's objects until done says so, the object is
// gone, or ctx ends: first as it is now, then by a watch.
func (a *Attacher) await(ctx context.Context, name string, o client.Object, list client.ObjectList, what string, done func(client.Object) (bool, error)) error {
	for {
		err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: name}, o)
		var ok bool
		switch {
		case apierrors.IsNotFound(err):
			err = fmt.Errorf("%s: %w", name, ErrGone)
		case err == nil:
			if ok, err = done(o); !ok && err == nil {
				ok, err = a.follow(ctx, o, list, done)
			}
		}
		if ok || (err != nil && ctx.Err() == nil) {
			return err
		}
		if err := rest(ctx); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
}

// follow watches an object from the version on that was seen of it. It returns
// false, nil when the watch ended.
func (a *Attacher) follow(ctx context.Context, seen client.Object, list client.ObjectList, done func(client.Object) (bool, error)) (bool, error) {
	opts := []client.ListOption{client.InNamespace(a.Namespace), named(seen.GetName())}
	return a.watchOnce(ctx, list, seen.GetResourceVersion(), opts, func(kind watch.EventType, o client.Object) (bool, error) {
		if kind == watch.Deleted {
			return false, fmt.Errorf("%s: %w", o.GetName(), ErrGone)
		}
		return done(o)
	})
}

func named(name string) client.MatchingFieldsSelector {
	return client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)}
}

// watchOnce follows one watch, from a resource version on. Without one it begins
// with the objects as the API server's cache has them, which may be as they
// were some time ago. It returns false, nil when the watch ended.
func (a *Attacher) watchOnce(ctx context.Context, list client.ObjectList, from string, opts []client.ListOption, done func(watch.EventType, client.Object) (bool, error)) (bool, error) {
	opts = append([]client.ListOption{&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from}}}, opts...)
	w, err := a.Client.Watch(ctx, list, opts...)
	if err != nil {
		return false, fmt.Errorf("watching: %w", err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case ev, open := <-w.ResultChan():
			if !open || ev.Type == watch.Error {
				return false, nil
			}
			o, isObject := ev.Object.(client.Object)
			if !isObject {
				continue
			}
			if ok, err := done(ev.Type, o); ok || err != nil {
				return ok, err
			}
		}
	}
}

// rest keeps two tries apart; the error is why ctx ended.
func rest(ctx context.Context) error {
	t := time.NewTimer(retryFloor)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
