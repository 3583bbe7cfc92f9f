package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// Deadlines of target work. A deletion lists a volume's backups and removes
// blocks one by one, so it may take long; it goes on where it was ended.
const (
	probeDeadline    = 10 * time.Second
	shortDeadline    = time.Minute
	inspectDeadline  = 5 * time.Minute
	deletionDeadline = 30 * time.Minute
)

// placeOf is where a point's document and backups are; false when its target is
// gone.
func placeOf(b *v1alpha1.VMBackup, t *v1alpha1.BackupTarget) (protocol.Target, bool) {
	switch {
	case b.Spec.Type == v1alpha1.TypeSnapshot:
		return protocol.InCluster(pointOf(b)), true
	case t == nil:
		return protocol.Target{}, false
	}
	return protocol.OnTarget(t.DeepCopy()), true
}

// targetGone is how work ends whose target was deleted under it. It may be made
// again, so that is waited for as for one that does not answer.
func targetGone(b *v1alpha1.VMBackup) error {
	return &protocol.Error{
		Reason: rules.TargetNotFound, Transient: true,
		Message: fmt.Sprintf("BackupTarget %q was deleted meanwhile: create it again", b.Spec.Target),
	}
}

// start has a piece of a point's target work done in the background.
func (r *backups) start(b *v1alpha1.VMBackup, t *v1alpha1.BackupTarget, o plan.Order) {
	key := client.ObjectKeyFromObject(b)
	target, ok := placeOf(b, t)
	if !ok {
		r.work(b.UID, o.Work, nil, shortDeadline, func(context.Context) (any, error) { return nil, targetGone(b) }, func() { r.wake.backups.wake(key) })
		return
	}
	point := pointOf(b)
	var do func(context.Context) (any, error)
	deadline := shortDeadline
	switch o.Op {
	case plan.OpCapture:
		request := protocol.CaptureRequest{
			Point: point, VM: b.Spec.VM, VMUID: b.Status.SourceUID, Source: r.captures.get(b.UID),
			IncludeDisks: b.Spec.IncludeDisks, ExcludeDisks: b.Spec.ExcludeDisks,
		}
		for _, d := range b.Status.Disks {
			request.Claims = append(request.Claims, d.Claim)
		}
		do = func(ctx context.Context) (any, error) { return nil, r.Targets.Capture(ctx, target, request) }
	case plan.OpFinalize:
		deadline = inspectDeadline
		do = func(ctx context.Context) (any, error) { return r.finalize(ctx, target, b, point) }
	case plan.OpInspectAttempt:
		deadline = inspectDeadline
		ref := o.Backups[0]
		do = func(ctx context.Context) (any, error) { return nil, r.inspectAttempt(ctx, target, b, ref) }
	case plan.OpDropAttempt:
		ref := o.Backups[0]
		do = func(ctx context.Context) (any, error) {
			return nil, r.Targets.DropAttempt(ctx, target, ref.Volume, ref.Backup)
		}
	case plan.OpDeletePoint:
		deadline = deletionDeadline
		// Written perhaps, though nobody lived to note it.
		path, _ := document.PointPath(b.Namespace, b.Name, b.UID)
		request := protocol.DeleteRequest{DocumentPath: path, DraftUID: b.UID}
		if b.Spec.Found != nil {
			request = protocol.DeleteRequest{DocumentPath: b.Status.Document, Found: true}
		}
		for _, ref := range o.Backups {
			request.Backups = append(request.Backups, protocol.Backup{Volume: ref.Volume, Backup: ref.Backup})
		}
		do = func(ctx context.Context) (any, error) { return nil, r.Targets.DeletePoint(ctx, target, request) }
	default:
		return
	}
	r.work(b.UID, o.Work, t, deadline, do, func() { r.wake.backups.wake(key) })
}

// work has a piece of target work done in the background; t is nil for what needs no
// target. On a target that gives no answer nothing is begun, and what was is ended
// (pool.silent): deletions may take long, and there may be many.
func (c *Controller) work(owner types.UID, w plan.Work, t *v1alpha1.BackupTarget, deadline time.Duration, do func(context.Context) (any, error), wake func()) {
	if t == nil {
		c.pool.run(owner, w, lane{}, deadline, do, wake)
		return
	}
	if found := c.probes.silent(t); found != nil {
		c.pool.run(owner, w, lane{quick: true}, deadline, func(context.Context) (any, error) { return nil, found }, wake)
		return
	}
	c.pool.run(owner, w, lane{place: t.UID}, deadline, func(ctx context.Context) (any, error) {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		c.probes.watch(watching, t)
		out, err := do(ctx)
		if err == nil {
			c.probes.good(t)
		}
		return out, err
	}, wake)
}

func pointOf(b *v1alpha1.VMBackup) document.Point {
	p := document.Point{UID: b.UID, Name: b.Name, Namespace: b.Namespace, CreatedAt: b.CreationTimestamp.UTC()}
	if b.Status.CutAt != nil {
		p.CutAt = b.Status.CutAt.UTC()
	}
	return p
}

// finalize has a whole point inspected, its document made of what its disks
// are now.
func (r *backups) finalize(ctx context.Context, at protocol.Target, b *v1alpha1.VMBackup, point document.Point) (any, error) {
	request := protocol.FinalizeRequest{Point: point, Consistency: b.Status.Consistency}
	for _, d := range b.Status.Disks {
		request.Disks = append(request.Disks, documentDisk(d))
	}
	result, err := r.Targets.Finalize(ctx, at, request)
	if err != nil {
		return nil, err
	}
	out := plan.Finalized{Path: result.Path, Digest: result.Digest, Secrets: result.Secrets, Sealed: result.Sealed, Disks: map[string]plan.FinalizedDisk{}}
	if b.Spec.Type == v1alpha1.TypeSnapshot {
		out.Path = names.PointSecret(b.UID)
	}
	for _, d := range result.Disks {
		out.Disks[d.Name] = plan.FinalizedDisk{UploadedBytes: d.UploadedBytes, Incremental: d.Incremental}
	}
	return out, nil
}

// inspectAttempt finds out whether a disk's current attempt is whole on the
// target. Its transfer has ended: what is in progress there stays so.
func (r *backups) inspectAttempt(ctx context.Context, at protocol.Target, b *v1alpha1.VMBackup, ref plan.BackupRef) error {
	for _, d := range b.Status.Disks {
		if d.Backup != ref.Backup {
			continue
		}
		_, err := r.Targets.InspectBackups(ctx, at, b.Namespace, []document.Disk{documentDisk(d)})
		var e *protocol.Error
		if errors.As(err, &e) && e.Reason == protocol.InProgress {
			final := *e
			final.Transient = false
			return &final
		}
		return err
	}
	return fmt.Errorf("backup %s is not of this point's current attempts", ref.Backup)
}

// documentDisk is a disk as its point recorded it when it began, so that
// nothing is missing where its claim or volume went during the upload.
func documentDisk(d v1alpha1.BackupDisk) document.Disk {
	out := document.Disk{
		Name: d.Name, Claim: d.Claim, Volume: d.Volume, Snapshot: d.Snapshot, Backup: d.Backup,
		SizeBytes: d.SizeBytes, BackingImage: d.BackingImage,
	}
	if s := d.Shape; s != nil {
		out.NumberOfReplicas, out.Migratable, out.VolumeAccessMode = s.NumberOfReplicas, s.Migratable, s.VolumeAccessMode
		out.StorageClass, out.VolumeMode, out.AccessModes = s.StorageClass, s.VolumeMode, s.AccessModes
	}
	return out
}
