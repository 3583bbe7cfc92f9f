package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
)

// engine finds the engine of a volume, attaching it by a ticket of ours if
// nobody else has or is about to. An engine that runs is not taken as it is:
// after an earlier job of ours gave its ticket back, it is about to end. Only
// where the cut just before has left its ticket, or had needed none, its engine
// is, if it answers under its name. One that gives no answer is waited for: it may be
// on a node that is lost, which Longhorn takes a minute to see. The ticket is kept
// until the job has ended.
func (r *run) engine(ctx context.Context, volume string, fe attach.Frontend) (Engine, attach.Location, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Attach)
	defer cancel()
	if r.former != nil && fe == attach.FrontendAny && r.former.ticket.Stands() {
		e := r.open(r.former.at)
		if _, err := within(ctx, r.Limits.Call, e.Info); err == nil {
			r.found(r.former.at)
			return e, r.former.at, nil
		}
	}
	request := attach.Request{
		Volume: volume, TicketID: r.ticket(volume), Type: ticketType(r.job), Frontend: fe, Guest: guest(r.job),
		Waiting: r.yielding(ctx, volume),
	}
	for {
		loc, ticket, err := r.Attacher.Running(ctx, request)
		r.keep(ticket)
		if err != nil {
			return nil, attach.Location{}, fmt.Errorf("getting volume %s attached: %w", volume, err)
		}
		e := r.open(loc)
		silent := r.silent(ctx, e, loc, fe)
		if silent == nil {
			r.found(loc)
			return e, loc, nil
		}
		if err := pause(ctx, r.Limits.RetryFloor); err != nil {
			return nil, attach.Location{}, fmt.Errorf("waiting for the engine of volume %s on node %s to answer: %w", volume, loc.Node, silent)
		}
	}
}

// silent is why an engine on another node, where it may be lost, gives no answer. A
// restore is begun anew in another volume instead of being waited for.
func (r *run) silent(ctx context.Context, e Engine, loc attach.Location, fe attach.Frontend) error {
	if loc.Node == r.Node || fe != attach.FrontendAny {
		return nil
	}
	if _, err := within(ctx, r.Limits.Call, e.Info); errors.Is(err, engine.ErrUnavailable) {
		return err
	}
	return nil // or the work finds out
}

// yielding says in the job's status whom a volume is left to, when that has
// lasted for as long as progress may go unreported. Disks of one cut wait at the
// same time.
func (r *run) yielding(ctx context.Context, volume string) func(by string) {
	began := time.Now()
	return func(by string) {
		if time.Since(began) < r.Limits.Report {
			return
		}
		r.saying.Lock()
		defer r.saying.Unlock()
		if err := r.report.message(ctx, fmt.Sprintf("waiting: volume %s is wanted by %s", volume, by)); err != nil {
			r.Log.Debug("could not say what is waited for", "job", r.job.Name, "error", err)
		}
	}
}

// ticketType is what Longhorn itself would attach the volume with for such
// work; both give way to workloads.
func ticketType(job *v1alpha1.NodeJob) longhorn.AttacherType {
	if job.Spec.Cut != nil || job.Spec.RemoveSnapshots != nil {
		return longhorn.AttacherTypeSnapshotController
	}
	return longhorn.AttacherTypeBackupController
}

// guest is the VM whose disks a job works on.
func guest(job *v1alpha1.NodeJob) attach.Guest {
	if job.Spec.VM == "" {
		return attach.Guest{}
	}
	return attach.Guest{Namespace: job.Spec.Owner.Namespace, Name: job.Spec.VM}
}

// found remembers where a volume's engine is.
func (r *run) found(loc attach.Location) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sites == nil {
		r.sites = map[string]attach.Location{}
	}
	r.sites[loc.Volume] = loc
}

func (r *run) open(loc attach.Location) Engine {
	return r.Open(address(loc))
}

// address is how an engine is spoken to.
func address(loc attach.Location) engine.Address {
	return engine.Address{Volume: loc.Volume, Instance: loc.Engine, Addr: loc.Address}
}
