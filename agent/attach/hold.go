package attach

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Ticket is an attachment that we asked for. Its zero value means: none was
// needed.
type Ticket struct {
	Volume string
	ID     string

	hold *hold
}

// Stands tells whether the attachment is still ours to count on: the ticket was
// not dropped for a workload, or none was needed.
func (t Ticket) Stands() bool { return t.hold == nil || t.hold.ctx.Err() == nil }

// Ends of a hold.
var (
	errGaveWay = errors.New("gave way to a workload")
	errRemoved = errors.New("our ticket was removed by somebody")
	errClosed  = errors.New("our ticket was given back")
	errMoved   = errors.New("our ticket is for another node now")
)

// hold is one watch over a ticket of ours, from when it was put until it is
// gone: it learns by it whether the ticket is satisfied, and drops the ticket
// when somebody else puts one beside it. It goes on where the job does not, for
// as long as the ticket stands.
type hold struct {
	a       *Attacher
	request Request
	node    string
	ctx     context.Context // ends with the hold, its cause says how
	end     context.CancelCauseFunc
	leaving *time.Timer // under a.mu; nil: it was not left

	giving    atomic.Bool // the ticket is being dropped for somebody
	mu        sync.Mutex
	satisfied bool
	why       string        // Longhorn's words on a ticket that is not
	changed   chan struct{} // closed at every change
}

// holding is the hold over a ticket that was just put and stands on the
// attachment as it is now; a ticket that was left a moment ago is taken up again.
func (a *Attacher) holding(ctx context.Context, q Request, node string, stands *longhorn.VolumeAttachment) *hold {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := q.Volume + "/" + q.TicketID
	if h := a.holds[key]; h != nil && h.node == node && h.ctx.Err() == nil {
		if h.leaving != nil {
			h.leaving.Stop()
			h.leaving = nil
		}
		return h
	} else if h != nil {
		h.end(errMoved)
	}
	h := &hold{a: a, request: q, node: node, changed: make(chan struct{})}
	h.ctx, h.end = context.WithCancelCause(context.WithoutCancel(ctx))
	if a.holds == nil {
		a.holds = map[string]*hold{}
	}
	a.holds[key] = h
	context.AfterFunc(h.ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.holds[key] == h {
			delete(a.holds, key)
		}
	})
	go h.watch(stands)
	return h
}

// watch follows the attachment until the ticket is gone. It begins with what
// the API server answered when the ticket was put: a watch of its own beginning
// might show the attachment as it was before, without the ticket.
func (h *hold) watch(stands *longhorn.VolumeAttachment) {
	see := func(o client.Object) (bool, error) { return h.see(o.(*longhorn.VolumeAttachment)) }
	ok, err := see(stands)
	if !ok && err == nil {
		ok, err = h.a.follow(h.ctx, stands, &longhorn.VolumeAttachmentList{}, see)
	}
	for !ok && !errors.Is(err, ErrGone) && h.ctx.Err() == nil {
		if err != nil {
			h.a.log().Warn("watching over our ticket; trying again", "volume", h.request.Volume, "error", err)
			if rest(h.ctx) != nil {
				return
			}
		}
		err = h.a.await(h.ctx, h.request.Volume, &longhorn.VolumeAttachment{}, &longhorn.VolumeAttachmentList{}, "the end of our ticket", see)
		ok = err == nil
	}
	if errors.Is(err, ErrGone) {
		h.end(err)
	}
}

// see takes up what the attachment says; it is true when that was the end.
func (h *hold) see(va *longhorn.VolumeAttachment) (bool, error) {
	mine := va.Spec.AttachmentTickets[h.request.TicketID]
	if mine == nil {
		if h.giving.Load() {
			h.end(errGaveWay)
		}
		h.end(errRemoved)
		return true, nil
	}
	if f := foreign(va); f != nil && h.request.givesWay() {
		if err := h.giveWay(describe(f)); err != nil {
			return false, err
		}
		return true, nil
	}
	got := va.Status.AttachmentTicketStatuses[h.request.TicketID]
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.satisfied = got != nil && got.Generation == mine.Generation && got.Satisfied; !h.satisfied && got != nil {
		h.why = unsatisfied(got)
	}
	close(h.changed)
	h.changed = make(chan struct{})
	return false, nil
}

// giveWay drops the ticket for somebody.
func (h *hold) giveWay(to string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), dropTime)
	defer cancel()
	h.giving.Store(true)
	if err := h.a.drop(ctx, h.request.Volume, h.request.TicketID); err != nil {
		return err
	}
	h.a.log().Info("gave way", "volume", h.request.Volume, "node", h.node, "to", to)
	h.end(errGaveWay)
	return nil
}

// close ends the hold; it is false when the ticket is gone already.
func (h *hold) close() bool {
	h.end(errClosed)
	return errors.Is(context.Cause(h.ctx), errClosed)
}

// leave lets go of the ticket after a while.
func (h *hold) leave(linger time.Duration) {
	h.a.mu.Lock()
	defer h.a.mu.Unlock()
	if h.leaving != nil || h.ctx.Err() != nil {
		return
	}
	h.leaving = time.AfterFunc(linger, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), dropTime)
		defer cancel()
		if err := h.a.Release(ctx, Ticket{Volume: h.request.Volume, ID: h.request.TicketID, hold: h}); err != nil {
			h.a.log().Warn("could not remove our attachment ticket; the coordinator's sweeper will", "volume", h.request.Volume, "ticket", h.request.TicketID, "error", err)
		}
	})
}

// attached waits until the volume is attached for this ticket, on its node.
// Until then it also gives way to a VM that is about to start, since Longhorn
// would refuse that VM's ticket. It returns errAgain when it gave way.
func (h *hold) attached(ctx context.Context, g Guest) (Location, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(h.ctx, func() { cancel(context.Cause(h.ctx)) })
	defer stop()
	if h.request.givesWay() && g.Name != "" {
		go h.watchGuest(ctx, g)
	}
	loc, err := h.awaitAttached(ctx)
	if err == nil || h.ctx.Err() == nil {
		return loc, err
	}
	if errors.Is(context.Cause(h.ctx), errGaveWay) {
		return Location{}, errAgain
	}
	return Location{}, fmt.Errorf("volume %s: %w: %w", h.request.Volume, context.Cause(h.ctx), ErrNotAttached)
}

func (h *hold) watchGuest(ctx context.Context, g Guest) {
	if err := h.a.awaitStart(ctx, g); err != nil {
		return // the volume is attached, or the cluster knows no VMs
	}
	for ctx.Err() == nil {
		err := h.giveWay(g.words())
		if err == nil {
			return
		}
		h.a.log().Warn("giving way; trying again", "volume", h.request.Volume, "error", err)
		_ = rest(ctx) // which the loop sees
	}
}

func (h *hold) awaitAttached(ctx context.Context) (Location, error) {
	volume := h.request.Volume
	if err := h.awaitSatisfied(ctx); err != nil {
		return Location{}, err
	}
	// A ticket that comes while an earlier one's detaching is under way can be
	// called satisfied by a controller that has not seen the volume go yet. So
	// the volume itself must be attached, and meant to stay so.
	err := h.a.await(ctx, volume, &longhorn.Volume{}, &longhorn.VolumeList{}, "volume "+volume+" to be attached", func(o client.Object) (bool, error) {
		v := o.(*longhorn.Volume)
		return v.Status.State == longhorn.VolumeStateAttached && v.Spec.NodeID == h.node && v.Status.CurrentNodeID == h.node, nil
	})
	if err != nil {
		return Location{}, err
	}
	return h.a.awaitEngine(ctx, volume, func(node string) bool { return node == h.node })
}

// awaitSatisfied waits until Longhorn says that the ticket is satisfied at the
// generation at which it stands in the spec.
func (h *hold) awaitSatisfied(ctx context.Context) error {
	for {
		h.mu.Lock()
		satisfied, why, changed := h.satisfied, h.why, h.changed
		h.mu.Unlock()
		if satisfied {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			err := fmt.Errorf("waiting for volume %s to be attached: %w", h.request.Volume, context.Cause(ctx))
			if why != "" {
				err = fmt.Errorf("%w (Longhorn says: %s)", err, why)
			}
			return err
		}
	}
}
