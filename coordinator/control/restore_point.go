package control

import (
	"context"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// backup is the point to restore, read live, unless the cache tells enough: it
// may have become Ready, or may be being deleted, since a moment ago.
func (r *restores) backup(ctx context.Context, s *v1alpha1.VMRestore, work plan.Works) (*v1alpha1.VMBackup, error) {
	_, reading := work[plan.Work{Op: plan.OpReadDocument}]
	if reading || len(s.Status.Disks) > 0 {
		known, exists, err := r.Controller.points.Get(status.PointOf(s))
		if err != nil {
			return nil, err
		}
		if b, whole := known.Whole(); exists && whole {
			return b.Point(), nil
		}
		if b := r.whole.get(s.UID); exists && b != nil && b.UID == known.Point().UID && b.ResourceVersion == known.Point().ResourceVersion {
			return b.DeepCopy(), nil
		}
	}
	b, exists, err := points.Read(ctx, r.live, status.PointOf(s))
	if exists {
		r.whole.put(s.UID, b.Point().DeepCopy())
	}
	return b.Point(), err
}
