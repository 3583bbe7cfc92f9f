package control

import (
	"context"
	"encoding/json"
	"fmt"
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
	asked := cutTo(t.Annotations[v1alpha1.AnnotationLeftovers], 64)
	st := t.Status.Leftovers
	if asked == "" || st != nil && st.Requested == asked && st.Time != nil {
		return 0
	}
	if st != nil && st.Requested != asked && st.Time != nil {
		if wait := leftoversFloor - time.Since(st.Time.Time); wait > 0 {
			return wait
		}
	}
	t = t.DeepCopy()
	key := types.NamespacedName{Name: t.Name}
	r.pool.run(t.UID, plan.Work{Op: "Leftovers"}, leftoversDeadline, func(ctx context.Context) (any, error) {
		out := v1alpha1.TargetLeftovers{Requested: asked}
		remove := strings.HasPrefix(asked, v1alpha1.LeftoversRemove)
		result, err := r.lookForLeftovers(ctx, t, remove && !t.Spec.ReadOnly)
		if err != nil {
			out.Message = cutTo("it failed: "+workError(err).Message, 1024)
		} else {
			told(&out, result)
		}
		if err == nil && remove && t.Spec.ReadOnly {
			out.Message = "spec.readOnly: nothing is removed from this target"
		}
		now := metav1.Now()
		out.Time = &now
		return nil, r.tellLeftovers(ctx, t, out)
	}, func() { r.wake.targets.wake(key) })
	return leftoversFloor
}

// lookForLeftovers tells the worker all that this cluster has of the target, read
// live: what is not in the listing could be removed.
func (r *targets) lookForLeftovers(ctx context.Context, t *v1alpha1.BackupTarget, remove bool) (protocol.LeftoversResult, error) {
	request := protocol.LeftoversRequest{
		Remove: remove, MaxTold: leftoversTold, CPUMilliseconds: leftoversCPU.Milliseconds(), MinAgeMilliseconds: r.LeftoverAge.Milliseconds(),
	}
	system := &metav1.PartialObjectMetadata{}
	system.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.live.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, system); err != nil {
		return protocol.LeftoversResult{}, fmt.Errorf("reading this cluster's UID: %w", err)
	}
	request.Cluster = system.UID
	var list v1alpha1.VMBackupList
	if err := r.live.List(ctx, &list); err != nil {
		return protocol.LeftoversResult{}, fmt.Errorf("listing the points of this cluster: %w", err)
	}
	for i := range list.Items {
		b := &list.Items[i]
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
	return r.Targets.Leftovers(ctx, protocol.OnTarget(t), request)
}

func told(out *v1alpha1.TargetLeftovers, r protocol.LeftoversResult) {
	out.InProgress, out.NoDocument, out.Drafts, out.Removed = int64(r.InProgress), int64(r.NoDocument), int64(r.Drafts), int64(r.Removed)
	out.Message = cutTo(r.Kept, 1024)
	for _, l := range r.Told {
		out.Items = append(out.Items, v1alpha1.TargetLeftover{
			Kind: string(l.Kind), Path: l.Path, Volume: l.Volume, Backup: l.Backup, Point: l.Point, Keep: cutTo(l.Keep, 256), Removed: l.Removed,
		})
	}
}

func (r *targets) tellLeftovers(ctx context.Context, t *v1alpha1.BackupTarget, out v1alpha1.TargetLeftovers) error {
	// The whole field: what a merge would leave of the last look is not of this one.
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/status/leftovers", "value": out}})
	if err != nil {
		return fmt.Errorf("preparing what was found: %w", err)
	}
	if err := r.client.Status().Patch(ctx, t.DeepCopy(), client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return fmt.Errorf("writing what was found on BackupTarget %s: %w", t.Name, client.IgnoreNotFound(err))
	}
	switch {
	case out.Removed > 0:
		r.events.Event(t, corev1.EventTypeNormal, "LeftoversRemoved", words.Count(int(out.Removed), "leftover")+" was removed from the target")
	case out.Message != "":
		r.events.Event(t, corev1.EventTypeWarning, "LeftoversKept", shorten(out.Message))
	}
	return nil
}
