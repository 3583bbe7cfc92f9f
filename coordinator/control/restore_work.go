package control

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// start has a piece of a restore's target work done in the background.
func (r *restores) start(_ context.Context, s *v1alpha1.VMRestore, v plan.RestoreView, o plan.Order) {
	if v.Backup == nil {
		return
	}
	key := client.ObjectKeyFromObject(s)
	target, ok := placeOf(v.Backup, v.Target)
	if !ok {
		r.work(s.UID, o.Work, nil, shortDeadline, func(context.Context) (any, error) { return nil, targetGone(v.Backup) }, func() { r.wake.restores.wake(key) })
		return
	}
	path, digest := v.Backup.Status.Document, v.Backup.Status.DocumentDigest
	if target.InCluster != nil {
		path, _ = document.PointPath(v.Backup.Namespace, v.Backup.Name, v.Backup.UID)
	}
	var do func(context.Context) (any, error)
	deadline := shortDeadline
	switch o.Op {
	case plan.OpReadDocument:
		request := protocol.ReadDocumentRequest{Path: path, Digest: digest, Open: opens(s)}
		do = func(ctx context.Context) (any, error) { return r.Targets.ReadDocument(ctx, target, request) }
	case plan.OpInspectBackups:
		deadline = inspectDeadline
		do = func(ctx context.Context) (any, error) { return r.inspect(ctx, target, s) }
	case plan.OpMakeSecrets:
		if v.Origin == nil || v.Origin.Rebuilt == nil {
			return
		}
		request := protocol.MakeSecretsRequest{
			Path: path, Digest: digest, Namespace: s.Namespace,
			Secrets: v.Origin.Rebuilt.Secrets, ConfigMaps: v.Origin.Rebuilt.ConfigMaps,
			Labels: map[string]string{v1alpha1.LabelRestore: string(s.UID)},
		}
		if !opens(s) {
			request.Secrets = nil
		}
		do = func(ctx context.Context) (any, error) { return nil, r.Targets.MakeSecrets(ctx, target, request) }
	default:
		return
	}
	r.work(s.UID, o.Work, v.Target, deadline, do, func() { r.wake.restores.wake(key) })
}

// inspect tells for each disk the size that a volume must have to be restored
// into, after the target worker found its backup whole.
func (r *restores) inspect(ctx context.Context, at protocol.Target, s *v1alpha1.VMRestore) (any, error) {
	doc, ok := value[*document.Document](r.pool, s.UID, plan.OpReadDocument)
	if !ok {
		return nil, fmt.Errorf("the point's document was not read yet")
	}
	found, err := r.Targets.InspectBackups(ctx, at, doc.Point.Namespace, wanted(s, doc.Disks))
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, f := range found {
		sizes[f.Name] = f.VolumeSizeBytes
	}
	return sizes, nil
}

// opens tells whether a restore needs the values of the point's Secrets.
func opens(s *v1alpha1.VMRestore) bool { return s.Spec.DiskClaim == nil && !s.Spec.WithoutSecrets }

// wanted are the disks of a point that a restore asks for.
func wanted(s *v1alpha1.VMRestore, disks []document.Disk) []document.Disk {
	if s.Spec.DiskClaim == nil {
		return disks
	}
	return slices.DeleteFunc(slices.Clone(disks), func(d document.Disk) bool { return d.Name != s.Spec.DiskClaim.Disk })
}
