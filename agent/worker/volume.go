package worker

import (
	"context"
	"fmt"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
)

// engine finds the engine of a volume, attaching it by a ticket of ours if
// nobody else has. An engine that runs is not taken as it is: after an earlier
// job of ours gave its ticket back, it is about to end. Only where the cut just
// before has left its ticket, or had needed none, its engine is, if it answers
// under its name. The ticket is kept until the job has ended.
func (r *run) engine(ctx context.Context, volume string, fe attach.Frontend) (Engine, attach.Location, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Attach)
	defer cancel()
	if r.former != nil && fe == attach.FrontendAny {
		e := r.open(r.former.at)
		if _, err := within(ctx, r.Limits.Call, e.Info); err == nil {
			return e, r.former.at, nil
		}
	}
	loc, ticket, err := r.Attacher.Running(ctx, volume, r.ticket(volume), fe)
	r.keep(ticket)
	if err != nil {
		return nil, attach.Location{}, fmt.Errorf("getting volume %s attached: %w", volume, err)
	}
	r.found(loc)
	return r.open(loc), loc, nil
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
