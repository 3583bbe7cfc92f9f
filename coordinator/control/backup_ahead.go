package control

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/pkg/api/v1alpha1"
)

// ahead makes the first job of a point that a schedule made, in a rush, before the
// status is written: that comes when the rush is over, together with what there is to
// tell by then. Nobody is given the job before (plan.Recorded), so that a leader that
// ends in between leaves nothing but a job to which its heir keeps, or not. false: the
// status is to be written first.
func (r *backups) ahead(ctx context.Context, b *v1alpha1.VMBackup, in plan.BackupIntent) (done bool, after time.Duration, err error) {
	if r.newcomers.rush() == 0 || !scheduled(b) || !plan.RecordsLater(b, in) {
		return false, 0, nil
	}
	// Of a job that exists nobody knows here whether it is this one.
	if made, err := r.jobs.early(ctx, in.CreateJobs[0]); err != nil || !made {
		return false, 0, err
	}
	r.begun.put(b.UID, &in.Status)
	r.untold.put(b.UID, append(r.untold.get(b.UID), in.Events...))
	return true, max(r.newcomers.aside(pointComer(b)), conflictPause), nil
}

// begins passes points of which the beginning has just been recorded.
var begins = predicate.Funcs{
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	CreateFunc: func(e event.CreateEvent) bool {
		if atRest, _ := points.AtRest(e.Object); atRest {
			return false
		}
		known, ok := points.Of(e.Object)
		return ok && known.Point().Status.StartedAt != nil
	},
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, now, ok := change(e)
		return ok && before.Status.StartedAt == nil && now.Status.StartedAt != nil
	},
}
