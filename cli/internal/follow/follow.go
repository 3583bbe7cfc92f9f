// Package follow watches one object until something is true of it, through
// watches that end and an API server that is away for a while.
package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
)

// pause is the floor between two rounds, so that a watch which ends at once
// does not become a loop of requests.
const pause = time.Second

// ErrGone means that the object is no longer there.
var ErrGone = errors.New("it was deleted")

// Follower of one object.
type Follower struct {
	Client client.WithWatch
	Kind   kinds.Kind
	Key    client.ObjectKey
	// UID is the object meant; another one of the same name counts as gone.
	// "" takes the one that is there first.
	UID types.UID
	// Seen is called for each state of the object, at least for the first and
	// the last; states in between can be missed. It returns true to stop.
	Seen func(client.Object) bool
	// Trouble is called when the API server could not be asked; following goes
	// on. It may be nil.
	Trouble func(error)
}

// Run follows until Seen returns true (nil), the object is gone (ErrGone), ctx
// ends (its cause) or the API server says that it will never answer (its
// error: forbidden, unknown kind).
func (f *Follower) Run(ctx context.Context) error {
	for {
		done, err := f.round(ctx)
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
		case errors.Is(err, ErrGone) || final(err):
			return err
		case f.Trouble != nil:
			f.Trouble(err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// round reads the object and watches it from there until the watch ends. Every
// round begins with a read, so nothing depends on what an earlier watch said.
func (f *Follower) round(ctx context.Context) (bool, error) {
	o := f.Kind.New()
	err := f.Client.Get(ctx, f.Key, o)
	if apierrors.IsNotFound(err) {
		return false, ErrGone
	}
	if err != nil {
		return false, fmt.Errorf("reading %s %s: %w", f.Kind.Word, f.Key.Name, err)
	}
	if done, err := f.see(o); done || err != nil {
		return done, err
	}
	w, err := f.Client.Watch(ctx, f.Kind.NewList(), &client.ListOptions{
		Namespace:     f.Key.Namespace,
		FieldSelector: fields.OneTermEqualSelector("metadata.name", f.Key.Name),
		Raw:           &metav1.ListOptions{ResourceVersion: o.GetResourceVersion()},
	})
	if err != nil {
		return false, fmt.Errorf("watching %s %s: %w", f.Kind.Word, f.Key.Name, err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case e, open := <-w.ResultChan():
			if !open {
				return false, nil
			}
			switch o, is := e.Object.(client.Object); {
			case e.Type == watch.Deleted:
				return false, ErrGone
			case e.Type == watch.Error || !is:
				return false, fmt.Errorf("watching %s %s: %w", f.Kind.Word, f.Key.Name, apierrors.FromObject(e.Object))
			case e.Type != watch.Bookmark:
				if done, err := f.see(o); done || err != nil {
					return done, err
				}
			}
		}
	}
}

func (f *Follower) see(o client.Object) (bool, error) {
	if f.UID == "" {
		f.UID = o.GetUID()
	}
	if o.GetUID() != f.UID {
		return false, ErrGone
	}
	return f.Seen(o), nil
}

// final errors do not pass by themselves.
func final(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
}
