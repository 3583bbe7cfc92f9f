package worker

import (
	"context"
	"errors"
	"fmt"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
)

// engine finds the engine of a volume, attaching it by a ticket of ours if
// nobody else has. A job that nobody had before takes a running engine as it
// is: no ticket of a former owner can be on the volume then that would matter.
// The ticket is kept until the job has ended.
func (r *run) engine(ctx context.Context, volume string, fe attach.Frontend) (Engine, attach.Location, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Attach)
	defer cancel()
	if !r.resumed && fe == attach.FrontendAny {
		loc, err := r.Attacher.Locate(ctx, volume)
		if err == nil {
			return r.open(loc), loc, nil
		}
		if !errors.Is(err, attach.ErrNotAttached) {
			return nil, attach.Location{}, err
		}
	}
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
