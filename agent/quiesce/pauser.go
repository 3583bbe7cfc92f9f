package quiesce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/agent/pauser/wire"
	"hayloft.dev/pkg/api/v1alpha1"
)

// compute is the container of a virt-launcher pod in which the VM runs.
const compute = "compute"

// Pauser asks the pauser beside this agent to pause the container in which a VM
// runs, and those that have its volumes mounted. What is paused goes on when this
// process ends, however it ends, since the connection is what holds it.
type Pauser struct {
	Socket string
	Node   string // that of this agent

	mu    sync.Mutex
	holds map[types.UID]*paused // UID of the VM -> what holds it
}

// paused is one connection to the pauser.
type paused struct {
	conn net.Conn
	in   *json.Decoder
}

// Freeze has the container stand still, and in the same hold all that has the
// volumes mounted, for the deadline at most.
func (p *Pauser) Freeze(ctx context.Context, g v1alpha1.CutGuest, found Guest) (others []string, err error) {
	q := wire.Request{Container: compute, Users: users(g, found), Limit: time.Duration(g.DeadlineSeconds) * time.Second}
	for _, uid := range podsOn(found, p.Node) {
		q.Pods = append(q.Pods, wire.Pod{Namespace: g.Namespace, UID: string(uid)})
	}
	others, err = p.keep(ctx, g, q)
	if err != nil {
		return nil, fmt.Errorf("pausing the container of VM %s/%s: %w", g.Namespace, g.VM, err)
	}
	return others, nil
}

// FreezeOthers has what has the volumes mounted stand still, and not the VM.
func (p *Pauser) FreezeOthers(ctx context.Context, g v1alpha1.CutGuest, found Guest, limit time.Duration) ([]string, error) {
	others, err := p.keep(ctx, g, wire.Request{Users: users(g, found), Limit: limit})
	if err != nil {
		return nil, fmt.Errorf("pausing what has the claims of VM %s/%s mounted: %w", g.Namespace, g.VM, err)
	}
	return others, nil
}

// users are what has the volumes mounted, but the VM's own pods; nil: nothing is
// meant.
func users(g v1alpha1.CutGuest, found Guest) *wire.Users {
	if len(found.Beside) == 0 {
		return nil
	}
	u := &wire.Users{Namespace: g.Namespace, Volumes: found.Beside}
	for uid := range found.Pods {
		u.Except = append(u.Except, string(uid))
	}
	return u
}

// keep asks for a hold and keeps it for the VM.
func (p *Pauser) keep(ctx context.Context, g v1alpha1.CutGuest, q wire.Request) ([]string, error) {
	h, others, err := p.hold(ctx, q)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	former := p.holds[g.VMUID]
	if p.holds == nil {
		p.holds = map[types.UID]*paused{}
	}
	p.holds[g.VMUID] = h
	p.mu.Unlock()
	if former != nil {
		_ = former.conn.Close()
	}
	return others, nil
}

// Thaw lets the container go on. It returns nil only if it stood still until now.
func (p *Pauser) Thaw(ctx context.Context, g v1alpha1.CutGuest) error {
	if err := p.let(ctx, g); err != nil {
		return fmt.Errorf("letting the container of VM %s/%s go on: %w", g.Namespace, g.VM, err)
	}
	return nil
}

// ThawOthers lets what FreezeOthers has paused go on, in the same way.
func (p *Pauser) ThawOthers(ctx context.Context, g v1alpha1.CutGuest) error {
	if err := p.let(ctx, g); err != nil {
		return fmt.Errorf("letting what has the claims of VM %s/%s mounted go on: %w", g.Namespace, g.VM, err)
	}
	return nil
}

// let ends what is held for a VM.
func (p *Pauser) let(ctx context.Context, g v1alpha1.CutGuest) error {
	p.mu.Lock()
	h := p.holds[g.VMUID]
	delete(p.holds, g.VMUID)
	p.mu.Unlock()
	if h == nil {
		return errors.New("nothing is paused for it by this agent")
	}
	// Whatever the answer, the connection ends here, and the hold with it.
	defer h.conn.Close()
	var r wire.Released
	err := h.exchange(ctx, wire.Release{}, &r)
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	return err
}

func (p *Pauser) hold(ctx context.Context, q wire.Request) (h *paused, others []string, err error) {
	if h, err = p.dial(ctx); err != nil {
		return nil, nil, err
	}
	var r wire.Reply
	err = h.exchange(ctx, q, &r)
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		_ = h.conn.Close()
		return nil, nil, err
	}
	return h, r.Users, nil
}

func (p *Pauser) dial(ctx context.Context) (*paused, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", p.Socket)
	if err != nil {
		return nil, fmt.Errorf("connecting to the pauser: %w", err)
	}
	return &paused{conn: conn, in: json.NewDecoder(conn)}, nil
}

// hookSlack is how much longer than a hook's timeout its answer may take: the
// pauser ends the command by itself and says how it went.
const hookSlack = 15 * time.Second

// hooks has the hooks of a VM's pod run around a cut. It says nothing of what to
// run: the pauser reads that from the pod.
func (p *Pauser) hooks(ctx context.Context, g v1alpha1.CutGuest, found Guest) (before hooks.Ran, after func(context.Context) hooks.Ran) {
	h, err := p.dial(ctx)
	if err != nil {
		return notRun(found.Hooks, err)
	}
	q := wire.Request{Hooks: true, Pods: []wire.Pod{{Namespace: g.Namespace, UID: string(podsOn(found, p.Node)[0])}}}
	before = h.ran(ctx, found.Hooks.Before, q)
	return before, func(ctx context.Context) hooks.Ran {
		// Whatever the answer, the connection ends here.
		defer h.conn.Close()
		return h.ran(ctx, found.Hooks.After, wire.Release{})
	}
}

// ran sends a message that has a hook run, and waits for its end. said is the hook
// as the instance has it; the pod's own may differ.
func (h *paused) ran(ctx context.Context, said *hooks.Hook, message any) hooks.Ran {
	limit := hookSlack
	if said != nil {
		limit += said.Timeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the pauser did not say within %s how it ended", limit))
	defer cancel()
	began := time.Now()
	var r wire.Ran
	if err := h.exchange(ctx, message, &r); err != nil {
		return hooks.Ran{Declared: said != nil, Error: err.Error(), Took: time.Since(began)}
	}
	if said != nil && !r.Declared {
		r.Declared, r.Error = true, "the VM's pod was made before the VM declared it: start the VM anew"
	}
	return hooks.Ran{Declared: r.Declared, Error: r.Error, Took: r.Took}
}

// exchange sends a message and reads the answer, until ctx ends.
func (h *paused) exchange(ctx context.Context, message, answer any) error {
	stop := context.AfterFunc(ctx, func() { _ = h.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(h.conn).Encode(message); err != nil {
		return causeOr(ctx, fmt.Errorf("asking the pauser: %w", err))
	}
	if err := h.in.Decode(answer); err != nil {
		return causeOr(ctx, fmt.Errorf("reading the pauser's answer: %w", err))
	}
	return nil
}

// causeOr prefers ctx's cause over what it made of a read.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("waiting for the pauser: %w", context.Cause(ctx))
	}
	return err
}
