package control

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/catalog"
	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/words"
)

// A point that is found on a target is a VMBackup like any other for whoever
// restores it: Ready, with its document's path and digest. Nothing is planned for
// it, it has no finalizer, and its data is never deleted from here.

// makeFound makes the VMBackup of a document, under the point's own name if that is
// free, and tells what the document is from now on. It can be repeated.
func (w *refreshing) makeFound(ctx context.Context, d protocol.FoundDocument) (catalog.Entry, error) {
	known := catalog.Entry{Version: d.Version, State: catalog.Known}
	for _, name := range catalog.Names(d) {
		b := foundPoint(w.target.Name, name, d)
		err := w.client.Create(ctx, b)
		switch {
		case apierrors.IsAlreadyExists(err):
			other := &v1alpha1.VMBackup{}
			err := w.live.Get(ctx, types.NamespacedName{Namespace: b.Namespace, Name: name}, other)
			if apierrors.IsNotFound(err) {
				return catalog.Entry{}, nil // it has just gone: look again
			}
			if err != nil {
				return catalog.Entry{}, fmt.Errorf("reading VMBackup %s/%s: %w", b.Namespace, name, err)
			}
			if other.UID == d.Point.UID {
				return known, nil // this cluster's own, which the cache did not show yet
			}
			if other.Spec.Found == nil || *other.Spec.Found != *b.Spec.Found || other.Spec.Target != w.target.Name {
				continue // another point has this name
			}
			b = other
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
			return catalog.Entry{Version: d.Version, State: catalog.Waiting, Why: "its namespace is being deleted"}, nil
		case apierrors.IsInvalid(err):
			return catalog.Entry{Version: d.Version, State: catalog.Faulty, Why: cutTo("no VMBackup can be made of it: "+err.Error(), 300)}, nil
		case err != nil:
			return catalog.Entry{}, fmt.Errorf("making VMBackup %s/%s of a point that was found: %w", b.Namespace, name, err)
		}
		b.Status = foundStatus(b, d)
		if err := w.client.Status().Update(ctx, b); err != nil {
			if apierrors.IsInvalid(err) {
				return catalog.Entry{Version: d.Version, State: catalog.Faulty, Why: cutTo("no VMBackup can be made of it: "+err.Error(), 300)}, nil
			}
			return catalog.Entry{}, fmt.Errorf("writing the status of VMBackup %s/%s: %w", b.Namespace, name, err)
		}
		return known, nil
	}
	return catalog.Entry{Version: d.Version, State: catalog.Faulty, Why: "other VMBackups have the names that it could have here: delete or rename them"}, nil
}

// foundPoint is the VMBackup of a document.
func foundPoint(target, name string, d protocol.FoundDocument) *v1alpha1.VMBackup {
	return &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Point.Namespace, Name: name,
			Labels: map[string]string{v1alpha1.LabelVM: d.Origin.VM, v1alpha1.LabelFound: taker(d)},
		},
		Spec: v1alpha1.VMBackupSpec{
			VM: d.Origin.VM, Type: v1alpha1.TypeBackup, Target: target, DeletionPolicy: v1alpha1.DeletionRetain,
			Quiesce: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceNever, DeadlineSeconds: 1},
			Found:   &v1alpha1.FoundPoint{ClusterUID: d.Origin.ClusterUID, UID: d.Point.UID, MadeBy: d.Origin.MadeBy},
		},
	}
}

// taker is who took a point: a cluster, or another program.
func taker(d protocol.FoundDocument) string {
	if d.Origin.MadeBy != "" {
		return string(d.Origin.MadeBy)
	}
	return string(d.Origin.ClusterUID)
}

// foundStatus is what a document says of its point. Its engine snapshots, if there
// are any, are its own cluster's.
func foundStatus(b *v1alpha1.VMBackup, d protocol.FoundDocument) v1alpha1.VMBackupStatus {
	created := metav1.NewTime(d.Point.CreatedAt)
	st := v1alpha1.VMBackupStatus{
		ObservedGeneration: b.Generation, Phase: v1alpha1.BackupReady, SourceUID: d.Origin.VMUID, Consistency: d.Consistency,
		CompletedAt: &created, Document: d.Path, DocumentDigest: d.Digest, ProgressText: "100%",
		Conditions: b.Status.Conditions, Verification: b.Status.Verification,
	}
	if !d.Point.CutAt.IsZero() { // Harvester does not always tell
		cut := metav1.NewMicroTime(d.Point.CutAt)
		st.CutAt = &cut
	}
	if created.IsZero() {
		st.CompletedAt = nil
		if st.CutAt != nil {
			st.CompletedAt = &metav1.Time{Time: st.CutAt.Time}
		}
	}
	for _, disk := range d.Disks {
		st.Disks = append(st.Disks, foundDisk(disk))
	}
	if b.Status.Phase == v1alpha1.BackupDamaged && b.Status.DocumentDigest == d.Digest {
		st.Phase = v1alpha1.BackupDamaged // which a document cannot tell
	} else {
		ready(&st, b.Generation, foundMessage(d))
	}
	meta.SetStatusCondition(&st.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionFalse, Reason: plan.ReasonFound, Message: "done", ObservedGeneration: b.Generation,
	})
	return st
}

func foundDisk(d document.Disk) v1alpha1.BackupDisk {
	return v1alpha1.BackupDisk{
		Name: d.Name, Claim: d.Claim, Volume: d.Volume, SizeBytes: d.SizeBytes, State: v1alpha1.DiskDone,
		Backup: d.Backup, BackingImage: d.BackingImage,
	}
}

func foundMessage(d protocol.FoundDocument) string {
	text := fmt.Sprintf("found on the target: taken in cluster %s as %s/%s; deleting this object leaves its data", d.Origin.ClusterUID, d.Point.Namespace, d.Point.Name)
	if d.Origin.MadeBy != "" {
		text = fmt.Sprintf("found on the target: made by %s as %s/%s; deleting this object leaves its data", d.Origin.MadeBy, d.Point.Namespace, d.Point.Name)
	}
	if d.Sealed > 0 {
		text += fmt.Sprintf("; it holds %s, encrypted", words.Count(d.Sealed, "Secret"))
	}
	if d.Secrets > 0 {
		text += fmt.Sprintf("; it holds %s, not encrypted", words.Count(d.Secrets, "Secret"))
	}
	return text
}

func ready(st *v1alpha1.VMBackupStatus, generation int64, message string) {
	meta.SetStatusCondition(&st.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: plan.ReasonFound, Message: message, ObservedGeneration: generation,
	})
}

// markMissing says of a point, found or this cluster's own, that its document is
// not on the target. Nothing is deleted because of that.
func (w *refreshing) markMissing(ctx context.Context, p catalog.MissingPoint) error {
	message := p.Why + "; it is looked for with every refresh"
	return w.mark(ctx, p.Point, v1alpha1.BackupReady, v1alpha1.BackupMissing, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: plan.ReasonMissing, Message: message,
	})
}

// markBack says of a missing point that its document is there.
func (w *refreshing) markBack(ctx context.Context, p catalog.Point) error {
	return w.mark(ctx, p, v1alpha1.BackupMissing, v1alpha1.BackupReady, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: plan.ReasonFound,
		Message: "its document is on the target again, seen " + time.Now().UTC().Format(time.RFC3339),
	})
}

// mark takes a point from one phase to another, unless it has left that meanwhile.
func (w *refreshing) mark(ctx context.Context, p catalog.Point, from, to v1alpha1.BackupPhase, c metav1.Condition) error {
	b := &v1alpha1.VMBackup{}
	if err := w.live.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, b); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading VMBackup %s/%s: %w", p.Namespace, p.Name, err)
	}
	if b.UID != p.UID || b.Status.Phase != from || !b.DeletionTimestamp.IsZero() {
		return nil
	}
	b.Status.Phase = to
	c.ObservedGeneration = b.Generation
	meta.SetStatusCondition(&b.Status.Conditions, c)
	if err := w.client.Status().Update(ctx, b); apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("writing the status of VMBackup %s/%s: %w", p.Namespace, p.Name, err)
	}
	kind := corev1.EventTypeNormal
	if to == v1alpha1.BackupMissing {
		kind = corev1.EventTypeWarning
	}
	w.events.Event(b, kind, c.Reason, shorten(c.Message))
	return nil
}
