// Package points is what a coordinator keeps of all points in memory.
//
// A cluster may have a hundred thousand points, and nearly all of them are Ready
// and stay so until they are deleted or restored. Of those that are at rest in
// this way the cache has a short record (Resting) in place of the VMBackup: it
// tells all that decisions about other points, schedules, quotas and metrics look
// at, and nothing of how the point was made. All others it has whole.
//
// Whoever is about to write a point, or to make something of it, needs it whole
// (Whole). The two are types of their own, so that a point of which something is
// left out is not written by mistake: a read of a VMBackup from the cache by
// anything but an Index fails for one at rest, rather than that it returns a part.
//
// It decides nothing and writes nothing.
package points

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Whole is a point of which nothing is left out, to be changed by who has it.
type Whole struct{ point *v1alpha1.VMBackup }

// Answered is a point as the API server answered with it.
func Answered(b *v1alpha1.VMBackup) Whole { return Whole{b} }

// Point is the object itself, nil when there is none.
func (w Whole) Point() *v1alpha1.VMBackup { return w.point }

// Read reads a point from the API server; false: there is none.
func Read(ctx context.Context, live client.Reader, key client.ObjectKey) (Whole, bool, error) {
	b := &v1alpha1.VMBackup{}
	err := live.Get(ctx, key, b)
	switch {
	case apierrors.IsNotFound(err):
		return Whole{}, false, nil
	case err != nil:
		return Whole{}, false, fmt.Errorf("reading VMBackup %s: %w", key, err)
	}
	return Whole{b}, true, nil
}

// Known is a point as the cache has it.
type Known struct {
	point *v1alpha1.VMBackup
	whole bool
}

// Point tells what is known. It is to be read only: it may be the cache's own. One
// at rest lacks its conditions, messages, progress, durations, hooks, the shapes and
// images of its disks, and annotations of others.
func (k Known) Point() *v1alpha1.VMBackup { return k.point }

// Whole is a copy of the point; false: only a part of it is known.
func (k Known) Whole() (Whole, bool) {
	if !k.whole {
		return Whole{}, false
	}
	return Whole{k.point.DeepCopy()}, true
}

// AtRest tells of a point in an event or in the store whether it is at rest, and if so
// whether it is idle too: of type Backup, and with no engine snapshots any more, so that
// nothing more happens in its life by itself. Nearly all are that. It costs nothing.
func AtRest(o any) (atRest, idle bool) {
	r, ok := o.(*Resting)
	return ok, ok && r.like.spec.Type == v1alpha1.TypeBackup && !r.holdsSnapshots()
}

// Of is a point in an event or in the store of the cache of VMBackups; false:
// the object is none.
func Of(o any) (Known, bool) {
	switch o := o.(type) {
	case *v1alpha1.VMBackup:
		return Known{o, true}, true
	case *Resting:
		return Known{o.tell(), false}, true
	}
	return Known{}, false
}
