package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/pkg/names"
)

// agentsTurn is how long an agent that lives has to drop its ticket itself.
const agentsTurn = 2 * time.Second

// obstructions removes attachment tickets of ours that stand in a workload's
// way, whoever put them: an agent that lives drops its ticket by itself, so
// that here it is mostly those of killed agents. Longhorn gives the volume to
// the workload all the same, but a migratable one has no room for a third
// ticket, which is a live migration. No grace time is kept, since the owner of
// the ticket would do the same.
type obstructions struct {
	*Controller
	since map[string]time.Time // volume -> when a ticket was first seen in a workload's way; one worker
}

func (c *Controller) addObstructions(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("obstructions").
		For(&longhorn.VolumeAttachment{}, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			va, ok := o.(*longhorn.VolumeAttachment)
			return ok && len(obstructing(va)) > 0
		}))).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(&obstructions{Controller: c, since: map[string]time.Time{}})
}

// obstructing are the sessions, by ticket, whose tickets stand beside that of
// somebody else. Those of restores are not among them: nobody may have a
// volume that is half restored.
func obstructing(va *longhorn.VolumeAttachment) map[string]string {
	ours, others := map[string]string{}, false
	for id, t := range va.Spec.AttachmentTickets {
		session, _, mine := names.ParseTicket(id)
		switch {
		case !mine:
			others = others || !strings.HasPrefix(id, names.TicketPrefix)
		case t.Parameters[longhorn.AttachmentParameterDisableFrontend] != longhorn.TrueValue:
			ours[id] = session
		}
	}
	if !others {
		return nil
	}
	return ours
}

// Reconcile looks at one attachment.
func (r *obstructions) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var seen longhorn.VolumeAttachment
	if err := r.cache.Get(ctx, req.NamespacedName, &seen); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	tickets := obstructing(&seen)
	if len(tickets) == 0 {
		delete(r.since, req.Name)
		return reconcile.Result{}, nil
	}
	first, known := r.since[req.Name]
	if !known {
		first = time.Now()
		r.since[req.Name] = first
	}
	turn := time.Since(first) < agentsTurn
	for id, session := range tickets {
		if turn && r.sessions.Alive(session) {
			continue
		}
		if err := r.clear(ctx, req.Name, id); err != nil {
			return reconcile.Result{}, err
		}
	}
	// Until the cache shows none any more.
	return reconcile.Result{RequeueAfter: agentsTurn}, nil
}

// clear removes one ticket if it is live still in somebody's way.
func (r *obstructions) clear(ctx context.Context, volume, id string) error {
	var va longhorn.VolumeAttachment
	err := r.live.Get(ctx, client.ObjectKey{Namespace: r.LonghornNamespace, Name: volume}, &va)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the attachment of volume %s: %w", volume, err)
	}
	if _, still := obstructing(&va)[id]; !still {
		return nil
	}
	return r.removeTicket(ctx, &va, id)
}
