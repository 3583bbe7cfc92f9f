// Package attach finds the engine of a Longhorn volume and, for a volume that
// is detached, has Longhorn attach it by an attachment ticket of our own, which
// it gives up at once when a workload wants the volume.
//
// It never touches tickets of others, asks for none while a workload holds the
// volume or is about to (a migratable volume allows one ticket while it is not
// attached and two while it is, so ours would block a start or a live
// migration), and moves no data.
package attach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Frontend says how a ticket wants the volume's front end.
type Frontend string

// The values of a ticket's disableFrontend parameter, as Longhorn knows them.
const (
	// FrontendAny takes the front end as it is, or up: an engine without one
	// panics when a snapshot is asked of it. Such a ticket gives way.
	FrontendAny Frontend = "any"
	// FrontendOff is what a restore needs. Such a ticket gives way to nobody,
	// for nobody may have a volume that is half restored.
	FrontendOff Frontend = "true"
)

const (
	// retryFloor is the shortest time between two watches of one object, and
	// between two tries to have a volume attached.
	retryFloor = 200 * time.Millisecond
	// lookAgain is after how long it is asked again whether a workload still
	// wants a volume that it has not attached, and whether the node for which we
	// asked is still there.
	lookAgain = 5 * time.Second
	// dropTime bounds the removal of a ticket that nobody waits for.
	dropTime = 20 * time.Second
)

// Attacher works with the Longhorn objects in Namespace, uncached.
type Attacher struct {
	Client    client.WithWatch
	Namespace string
	Node      string       // the agent's node, preferred where a volume may go anywhere
	Log       *slog.Logger // nil: nothing is told

	mu    sync.Mutex
	holds map[string]*hold // ticket -> the watch over it
}

// Request says which volume is needed, and how.
type Request struct {
	Volume string
	// TicketID is the id of the ticket, if one is needed.
	TicketID string
	// Type is the ticket's. Longhorn lets those of type backup-controller and
	// snapshot-controller be interrupted by a workload.
	Type     longhorn.AttacherType
	Frontend Frontend
	// Guest is the VM whose disk it is; zero: that of no VM that is known.
	Guest Guest
	// Waiting is told, again and again, whom the volume is left to; nil: nobody
	// wants to know.
	Waiting func(by string)
}

func (q Request) givesWay() bool { return q.Frontend == FrontendAny }

// errAgain: what was seen of a volume is not so any more.
var errAgain = errors.New("look at the volume again")

// Running returns where a volume's engine runs. It waits for the workload that
// has the volume or is about to, and where there is none it asks for the volume
// by a ticket and waits for that. Tickets left by former owners are replaced,
// without the volume being detached in between; the caller must hold the
// volume's lease. ErrWanted: a workload or a live migration was waited for in
// vain.
func (a *Attacher) Running(ctx context.Context, q Request) (Location, Ticket, error) {
	for {
		va, err := a.attachment(ctx, q.Volume)
		if err != nil {
			return Location{}, Ticket{}, err
		}
		by, err := a.wantedBy(ctx, va, q)
		if err != nil {
			return Location{}, Ticket{}, err
		}
		var loc Location
		var t Ticket
		if by == "" {
			loc, t, err = a.own(ctx, va, q)
		} else {
			if q.Waiting != nil {
				q.Waiting(by)
			}
			loc, err = a.others(ctx, va, q)
		}
		if !errors.Is(err, errAgain) {
			return loc, t, err
		}
		select {
		case <-ctx.Done():
			if by != "" {
				return Location{}, t, fmt.Errorf("volume %s: %w by %s, and has no engine to work with: %w", q.Volume, ErrWanted, by, context.Cause(ctx))
			}
			return Location{}, t, fmt.Errorf("waiting for volume %s to be attached: %w", q.Volume, context.Cause(ctx))
		case <-time.After(retryFloor):
		}
	}
}

// wantedBy tells who has the volume, or is about to; "" nobody but us.
func (a *Attacher) wantedBy(ctx context.Context, va *longhorn.VolumeAttachment, q Request) (string, error) {
	if f := foreign(va); f != nil && (q.givesWay() || va.Spec.AttachmentTickets[q.TicketID] == nil) {
		return describe(f), nil
	}
	if !q.givesWay() || ownSatisfied(va) {
		// A volume that is attached takes a workload's ticket beside ours.
		return "", nil
	}
	return a.starting(ctx, q.Guest)
}

// others waits for the engine that a workload has the volume attached for. It
// returns errAgain when that has changed, or not happened for a while.
func (a *Attacher) others(ctx context.Context, va *longhorn.VolumeAttachment, q Request) (Location, error) {
	if err := a.drop(ctx, q.Volume, ownTickets(va, "")...); err != nil {
		return Location{}, err
	}
	wctx, cancel := context.WithTimeoutCause(ctx, lookAgain, errAgain)
	defer cancel()
	if foreign(va) == nil {
		err := a.await(wctx, q.Volume, &longhorn.VolumeAttachment{}, &longhorn.VolumeAttachmentList{}, "the workload's ticket", func(o client.Object) (bool, error) {
			return foreign(o.(*longhorn.VolumeAttachment)) != nil, nil
		})
		if err == nil || wctx.Err() != nil {
			err = errAgain
		}
		return Location{}, err
	}
	// An engine elsewhere is one that is being ended.
	loc, err := a.awaitEngine(wctx, q.Volume, func(node string) bool { return asked(va, node) })
	if wctx.Err() != nil {
		return Location{}, errAgain
	}
	return loc, err
}

// own has the volume attached by our ticket. It returns errAgain when we gave
// way meanwhile, Longhorn took no ticket of ours now, or another node than this
// agent's, which may be lost, has not attached it for a while.
func (a *Attacher) own(ctx context.Context, va *longhorn.VolumeAttachment, q Request) (Location, Ticket, error) {
	node, err := a.nodeFor(ctx, q)
	if err != nil {
		return Location{}, Ticket{}, err
	}
	stands, err := a.put(ctx, q, node, ownTickets(va, q.TicketID))
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsInternalError(err) { // the last: its webhook did not answer
		a.log().Info("Longhorn takes no ticket of ours now", "volume", q.Volume, "error", err)
		return Location{}, Ticket{}, errAgain
	} else if err != nil {
		return Location{}, Ticket{}, err
	}
	h := a.holding(ctx, q, node, stands)
	t := Ticket{Volume: q.Volume, ID: q.TicketID, hold: h}
	wctx := ctx
	if node != a.Node {
		var cancel context.CancelFunc
		wctx, cancel = context.WithTimeoutCause(ctx, lookAgain, errAgain)
		defer cancel()
	}
	loc, err := h.attached(wctx, q.Guest)
	if err != nil && wctx.Err() != nil && ctx.Err() == nil {
		err = errAgain
	}
	if errors.Is(err, errRemoved) {
		// By the leader, who saw it in a workload's way before this agent did.
		if va, gerr := a.attachment(ctx, q.Volume); gerr == nil && foreign(va) != nil {
			err = errAgain
		}
	}
	return loc, t, err
}

// Release removes a ticket, unless it was given up already. A ticket or volume
// that is gone is not an error.
func (a *Attacher) Release(ctx context.Context, t Ticket) error {
	if t.ID == "" {
		return nil
	}
	if t.hold != nil && !t.hold.close() {
		return nil
	}
	return a.drop(ctx, t.Volume, t.ID)
}

// Leave removes a ticket after a while, or at once when a workload wants the
// volume. The next owner of the volume takes the attachment over when he comes
// before that, so that jobs that follow on each other need not wait for the
// volume to be detached and attached.
func (a *Attacher) Leave(t Ticket, linger time.Duration) {
	if t.hold != nil {
		t.hold.leave(linger)
	}
}

// Close removes the tickets that were left and are still there.
func (a *Attacher) Close(ctx context.Context) error {
	a.mu.Lock()
	var left []Ticket
	for _, h := range a.holds {
		if h.leaving != nil && h.leaving.Stop() {
			left = append(left, Ticket{Volume: h.request.Volume, ID: h.request.TicketID, hold: h})
		}
	}
	a.mu.Unlock()
	var all []error
	for _, t := range left {
		all = append(all, a.Release(ctx, t))
	}
	return errors.Join(all...)
}

// DropOwn removes every ticket of ours from a volume, former owners' too; the
// caller must hold the volume's lease.
func (a *Attacher) DropOwn(ctx context.Context, volume string) error {
	va, err := a.attachment(ctx, volume)
	if err != nil {
		return err
	}
	return a.drop(ctx, volume, ownTickets(va, "")...)
}

// AwaitDetached waits until Longhorn says that the volume is detached.
func (a *Attacher) AwaitDetached(ctx context.Context, volume string) error {
	return a.await(ctx, volume, &longhorn.Volume{}, &longhorn.VolumeList{}, "volume "+volume+" to be detached", func(o client.Object) (bool, error) {
		return o.(*longhorn.Volume).Status.State == longhorn.VolumeStateDetached, nil
	})
}

func (a *Attacher) log() *slog.Logger {
	if a.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Log
}
