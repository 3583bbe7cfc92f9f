package control

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

const (
	// leftoversTold bounds what a status tells one by one; the API's limit is the same.
	leftoversTold = 50
	// leftoversDeadline and leftoversCPU bound one look. It lists each volume on the
	// target, and deletes where it was asked to.
	leftoversDeadline = 10 * time.Minute
	leftoversCPU      = 2 * time.Minute
	// leftoversFloor is the shortest time between the ends of looks and the next.
	leftoversFloor = 5 * time.Second
)

// leftovers has a target looked through for what nobody needs any more, once for
// each request. It tells in how long to come back for that, 0 for not.
func (r *targets) leftovers(t *v1alpha1.BackupTarget) time.Duration {
	asked := requested(t, v1alpha1.AnnotationLeftovers)
	if !leftoversWanted(t) {
		return 0
	}
	if st := t.Status.Leftovers; st != nil && st.Time != nil {
		if wait := leftoversFloor - time.Since(st.Time.Time); wait > 0 {
			return wait
		}
	}
	t = t.DeepCopy()
	key := types.NamespacedName{Name: t.Name}
	r.pool.run(t.UID, plan.Work{Op: "Leftovers"}, lane{place: t.UID}, leftoversDeadline, func(ctx context.Context) (any, error) {
		return nil, r.answerLeftovers(ctx, t, asked)
	}, func() { r.wake.targets.wake(key) })
	return leftoversFloor
}

// answerLeftovers looks as somebody has asked for and writes down what was found, or
// why nothing was. A target of which it is known that it gives no answer is not waited
// for.
func (r *targets) answerLeftovers(ctx context.Context, t *v1alpha1.BackupTarget, asked string) error {
	var now v1alpha1.BackupTarget // the cache may not show the answer yet
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(t), &now); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading BackupTarget %s: %w", t.Name, err)
	}
	if now.UID != t.UID || requested(&now, v1alpha1.AnnotationLeftovers) != asked || !leftoversWanted(&now) {
		return nil
	}
	remove := strings.HasPrefix(asked, v1alpha1.LeftoversRemove)
	var out v1alpha1.TargetLeftovers
	if found := r.probes.silent(t); found != nil {
		out = leftoversOf(protocol.LeftoversResult{}, found)
	} else {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		r.probes.watch(watching, t)
		result, _, err := r.lookForLeftovers(ctx, t, r.live, protocol.LeftoversRequest{
			Remove: remove && !t.Spec.ReadOnly, CPUMilliseconds: leftoversCPU.Milliseconds(),
		})
		if out = leftoversOf(result, err); err == nil && remove && t.Spec.ReadOnly {
			out.Message = "spec.readOnly: nothing is removed from this target"
		}
	}
	out.Requested = asked
	// It is told too why a look was ended.
	telling, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTime)
	defer cancel()
	if err := r.tellTarget(telling, t, func(s *v1alpha1.BackupTargetStatus) { s.Leftovers = &out }); err != nil {
		return err
	}
	switch {
	case out.Removed > 0:
		r.events.Event(t, corev1.EventTypeNormal, "LeftoversRemoved", words.Count(int(out.Removed), "leftover")+" "+words.Verb(int(out.Removed), "was", "were")+" removed from the target")
	case out.Message != "":
		r.events.Event(t, corev1.EventTypeWarning, "LeftoversKept", shorten(out.Message))
	}
	return nil
}

// leftoversWanted: somebody asked for a look that was not made yet.
func leftoversWanted(t *v1alpha1.BackupTarget) bool {
	asked, st := requested(t, v1alpha1.AnnotationLeftovers), t.Status.Leftovers
	return asked != "" && (st == nil || st.Requested != asked || st.Time == nil)
}

// lookForLeftovers tells the worker all that this cluster has of the target. Where
// something is to be removed it must be read live: what the listing lacks could be
// removed.
func (c *Controller) lookForLeftovers(ctx context.Context, t *v1alpha1.BackupTarget, from client.Reader, request protocol.LeftoversRequest) (_ protocol.LeftoversResult, _ protocol.Cost, err error) {
	defer func() {
		// Whatever it was doing then, that is not why it failed.
		if found := silenceOf(ctx); err != nil && found != nil {
			err = found
		}
	}()
	request.MaxTold, request.MinAgeMilliseconds = leftoversTold, c.LeftoverAge.Milliseconds()
	system := &metav1.PartialObjectMetadata{}
	system.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := c.live.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, system); err != nil {
		return protocol.LeftoversResult{}, unspent, fmt.Errorf("reading this cluster's UID: %w", err)
	}
	request.Cluster = system.UID
	all := c.points.Each()
	if from != c.cache {
		var list v1alpha1.VMBackupList
		if err := from.List(ctx, &list); err != nil {
			return protocol.LeftoversResult{}, unspent, fmt.Errorf("listing the points of this cluster: %w", err)
		}
		all = pointersTo(list.Items)
	}
	for b := range all {
		request.Living = append(request.Living, b.UID)
		if b.Spec.Target != t.Name {
			continue
		}
		if b.Spec.Found != nil {
			request.Living = append(request.Living, b.Spec.Found.UID)
		}
		if b.Status.Document != "" && b.Status.Phase == v1alpha1.BackupReady && b.DeletionTimestamp.IsZero() {
			request.Documents = append(request.Documents, b.Status.Document)
		}
		for _, d := range b.Status.Disks {
			if d.Backup != "" {
				request.Named = append(request.Named, d.Backup)
			}
		}
	}
	return c.Targets.Leftovers(ctx, protocol.OnTarget(t), request)
}

func pointersTo[T any](items []T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range items {
			if !yield(&items[i]) {
				return
			}
		}
	}
}

// unspent is the cost of what the target was not asked for.
var unspent = protocol.Cost{Reaped: true}

// leftoversOf is what a look found, for a target's status.
func leftoversOf(r protocol.LeftoversResult, err error) v1alpha1.TargetLeftovers {
	now := metav1.Now()
	out := v1alpha1.TargetLeftovers{
		Time: &now, Message: cutTo(r.Kept, 1024), InProgress: int64(r.InProgress), NoDocument: int64(r.NoDocument), Drafts: int64(r.Drafts),
		Removable: int64(r.Removable), Removed: int64(r.Removed),
	}
	switch {
	case err != nil:
		out.Message = cutTo("it failed: "+workError(err).Message, 1024)
	case r.Unjudged > 0:
		out.Message = words.Count(r.Unjudged, "backup") + " could not be looked at within what a look may cost by itself: ask for one"
	}
	for _, l := range r.Told {
		out.Items = append(out.Items, v1alpha1.TargetLeftover{
			Kind: string(l.Kind), Path: l.Path, Volume: l.Volume, Backup: l.Backup, Point: l.Point, Keep: cutTo(l.Keep, 256), Removed: l.Removed,
		})
	}
	return out
}
