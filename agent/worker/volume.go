package worker

import (
	"context"
	"fmt"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
)

// engine finds the engine of a volume, attaching it by a ticket of ours if
// nobody else has. An engine that runs is not taken as it is: after an earlier
// job of ours gave its ticket back, it is about to end. The ticket is kept
// until the job has ended.
func (r *run) engine(ctx context.Context, volume string, fe attach.Frontend) (Engine, attach.Location, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Attach)
	defer cancel()
	loc, ticket, err := r.Attacher.Running(ctx, volume, r.ticket(volume), fe)
	r.keep(ticket)
	if err != nil {
		return nil, attach.Location{}, fmt.Errorf("getting volume %s attached: %w", volume, err)
	}
	return r.open(loc), loc, nil
}

func (r *run) open(loc attach.Location) Engine {
	return r.Open(engine.Address{Volume: loc.Volume, Instance: loc.Engine, Addr: loc.Address})
}
