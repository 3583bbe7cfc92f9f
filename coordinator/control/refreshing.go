package control

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/catalog"
	"hayloft.dev/coordinator/refresh"
	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/words"
)

// What the coordinator itself takes for a refresh cannot be measured apart from
// all else that it does. It is counted with these, which were measured with
// thousands of documents, and are rather too much.
const (
	cpuPerMade     = 5 * time.Millisecond // a VMBackup with its status, and all that wakes
	cpuPerDocument = 5 * time.Microsecond
)

// maxMade bounds the points that one refresh makes.
const maxMade = 1000

// refreshing is one refresh of one target.
type refreshing struct {
	*Controller
	target *v1alpha1.BackupTarget
	state  *refreshed
	// allowance is the CPU time that it may take, one half for the worker and one
	// for making what it has found.
	allowance time.Duration

	// cost: its time is that in which the target was worked on.
	cost refresh.Cost
	// beside are the requests of what was done beside it.
	beside    int
	documents *v1alpha1.RefreshedDocuments
	faults    []v1alpha1.DocumentFault
	waiting   []v1alpha1.WaitingNamespace
	identity  string
}

// do lists the target and brings the cluster up to what it says. Nothing follows
// from a listing that is not whole.
func (w *refreshing) do(ctx context.Context) error {
	if w.state.index == nil || w.state.place != whereabouts(w.target) {
		parts, err := w.shelved(ctx, w.target.UID, shelfIndex)
		if err != nil {
			return err
		}
		w.state.index, w.state.place = w.loadIndex(w.target, parts), whereabouts(w.target)
	}
	index := w.state.index
	facts, err := w.facts(ctx, index.HasWaiting())
	if err != nil {
		return err
	}
	request := protocol.RefreshRequest{
		MaxDocuments: w.MaxDocuments, MaxRead: min(maxMade, int(w.allowance/2/cpuPerMade)),
		// The kernel ends it at twice that.
		CPUMilliseconds: max(1, (w.allowance / 4).Milliseconds()),
	}
	request.Known, request.Confirm = index.Prepare(facts)
	result, cost, err := w.Targets.Refresh(ctx, protocol.OnTarget(w.target), request)
	w.cost = costOf(cost, w.allowance/2)
	w.cost.CPU += time.Duration(len(request.Known)) * cpuPerDocument
	if err != nil {
		return err
	}
	w.probes.good(w.target)
	w.identity = result.Identity
	if len(result.Read) > 0 && facts.Namespaces == nil {
		if facts.Namespaces, facts.Barred, err = w.namespaces(ctx); err != nil {
			return err
		}
	}
	intent := index.Apply(facts, result)
	err = w.carryOut(ctx, index, intent)
	w.documents, w.faults, w.waiting = index.Summary(result, intent)
	if stored := w.storeIndex(ctx, w.target, index); err == nil {
		err = stored
	}
	if err == nil {
		w.countLeftovers(ctx)
	}
	return err
}

// facts are what the cluster has of the target, before it is listed.
func (w *refreshing) facts(ctx context.Context, namespaces bool) (f catalog.Facts, err error) {
	if err := w.graves.settle(ctx, w.target); err != nil {
		return f, err
	}
	graves, err := w.shelved(ctx, w.target.UID, shelfGraves)
	if err != nil {
		return f, err
	}
	f.Forgotten, f.Reserved = buried(graves), []string{w.Namespace, w.LonghornNamespace}
	if namespaces {
		if f.Namespaces, f.Barred, err = w.namespaces(ctx); err != nil {
			return f, err
		}
	}
	f.Points = map[string]catalog.Point{}
	for b := range w.points.OnTarget(w.target.Name) {
		if path := documentOf(b); path != "" {
			f.Points[path] = catalog.Point{
				Namespace: b.Namespace, Name: b.Name, UID: b.UID, Found: b.Spec.Found != nil, Phase: b.Status.Phase,
				Digest: b.Status.DocumentDigest, Deleting: !b.DeletionTimestamp.IsZero(),
			}
		}
	}
	return f, nil
}

// documentOf is where the document of a point is, or would be; a found point whose
// status was not written has none, and is made once more.
func documentOf(b *v1alpha1.VMBackup) string {
	switch {
	case b.Spec.Type == v1alpha1.TypeSnapshot:
		return ""
	case b.Status.Document != "" || b.Spec.Found != nil:
		return b.Status.Document // one that was brought back from elsewhere has another UID
	}
	path, err := document.PointPath(b.Namespace, b.Name, b.UID)
	if err != nil {
		return ""
	}
	return path
}

// namespaces are those that exist and are here to stay, and those whose points the
// target may not have, with why.
func (w *refreshing) namespaces(ctx context.Context) (out map[string]bool, barred map[string]string, err error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := w.live.List(ctx, list); err != nil {
		return nil, nil, fmt.Errorf("listing the namespaces: %w", err)
	}
	out, barred = map[string]bool{}, map[string]string{}
	for i := range list.Items {
		o := &list.Items[i]
		out[o.Name] = o.DeletionTimestamp.IsZero()
		if !rules.Allowed(w.target, o.Name, o.Labels) {
			barred[o.Name] = rules.NotAllowed(w.target)
		}
	}
	return out, barred, nil
}

// carryOut does what a listing asks for. What the API server does not take now is
// asked for again by the next listing.
func (w *refreshing) carryOut(ctx context.Context, index *catalog.Index, in catalog.Intent) error {
	made := 0
	for _, d := range in.Make {
		entry, err := w.makeFound(ctx, d)
		if err != nil {
			return err
		}
		index.Set(d.Path, entry)
		if entry.State == catalog.Known {
			made++
		}
	}
	w.cost.CPU += time.Duration(len(in.Make)) * cpuPerMade
	if made > 0 {
		w.events.Event(w.target, corev1.EventTypeNormal, "PointsFound", fmt.Sprintf("%s of other clusters, or that this one had lost, were found on the target", words.Count(made, "point")))
	}
	for _, p := range in.Missing {
		if err := w.markMissing(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range in.Back {
		if err := w.markBack(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range in.Remove {
		if err := w.removeFound(ctx, p); err != nil {
			return err
		}
	}
	for _, uid := range in.Unbury {
		if err := w.graves.unbury(ctx, w.target, uid); err != nil {
			return err
		}
	}
	return nil
}

// removeFound lets a VMBackup go whose point is gone from the target, unless a
// restore reads it.
func (w *refreshing) removeFound(ctx context.Context, p catalog.Point) error {
	b := &v1alpha1.VMBackup{}
	if err := w.live.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, b); err != nil {
		return client.IgnoreNotFound(err)
	}
	if claims(b) {
		return nil // that would delete its data, which nobody has asked for
	}
	if b.UID != p.UID || b.Spec.Found == nil || b.Status.Phase != v1alpha1.BackupMissing {
		return nil
	}
	readers, err := w.readers(ctx, b)
	if err != nil || len(readers) > 0 {
		return err
	}
	err = w.client.Delete(ctx, b, client.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion})
	if err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("removing VMBackup %s/%s, which is gone from the target: %w", p.Namespace, p.Name, err)
	}
	w.events.Event(w.target, corev1.EventTypeNormal, "PointGone", fmt.Sprintf("VMBackup %s/%s went: its point is not on the target any more", p.Namespace, p.Name))
	return nil
}
