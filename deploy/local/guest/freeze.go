package guest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Faults of a freeze, besides a duration, which it takes longer.
const (
	FaultError = "error" // the agent refuses, nothing is frozen
	FaultHang  = "hang"  // the agent never answers, nothing is frozen
)

// What libvirt says when a guest cannot do what is asked of its agent.
var (
	errNoAgent     = errors.New("virError(Code=86, Domain=10, Message='Guest agent is not responding: QEMU guest agent is not connected')")
	errStandsStill = errors.New("virError(Code=55, Domain=10, Message='Requested operation is not valid: domain is not running')")
	errFreeze      = errors.New("virError(Code=1, Domain=10, Message='internal error: unable to execute QEMU agent command 'guest-fsfreeze-freeze': failed to freeze /: Device or resource busy')")
)

// maxFreezes is how many freezes a guest remembers.
const maxFreezes = 100

// Freeze is a time during which the guest wrote nothing, because it was asked to.
type Freeze struct {
	Frozen  time.Time     `json:"frozen"` // no write was under way any more
	Thawed  *time.Time    `json:"thawed,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // after which it was to thaw by itself; 0: never
	// ByTimeout says that nobody thawed it: the time passed.
	ByTimeout bool `json:"byTimeout,omitempty"`
}

// String is a line for people and scripts; thawed is "no" for a guest that still is frozen.
func (f Freeze) String() string {
	thawed, lasted := "no", time.Since(f.Frozen)
	if f.Thawed != nil {
		thawed, lasted = f.Thawed.Format(time.RFC3339Nano), f.Thawed.Sub(f.Frozen)
	}
	return fmt.Sprintf("frozen=%s thawed=%s lasted=%s timeout=%s byTimeout=%t",
		f.Frozen.Format(time.RFC3339Nano), thawed, lasted, f.Timeout, f.ByTimeout)
}

// CheckFault tells whether a fault is one that a freeze knows: "", error, hang or a duration.
func CheckFault(fault string) error {
	_, err := faultDelay(fault)
	return err
}

func faultDelay(fault string) (time.Duration, error) {
	switch fault {
	case "", FaultError, FaultHang:
		return 0, nil
	}
	delay, err := time.ParseDuration(fault)
	if err != nil || delay < 0 {
		return 0, fmt.Errorf("%q is neither %s, %s nor a duration such as 2s", fault, FaultError, FaultHang)
	}
	return delay, nil
}

// freezer is the guest's agent, as far as freezing goes, and the timer with which virt-launcher thaws a guest that
// nobody thaws.
type freezer struct {
	gate     *gate
	hasAgent bool
	onThaw   func(Freeze) // called when the time has passed

	mu      sync.Mutex
	freezes []Freeze
	deadMan *time.Timer
}

// freeze returns when nothing is being written any more. A guest that is frozen already stays so, and until when it
// was: the new timeout does not count.
func (f *freezer) freeze(ctx context.Context, timeout time.Duration, fault string) error {
	delay, err := faultDelay(fault)
	if err != nil {
		return err
	}
	if err := f.reachAgent(); err != nil {
		return err
	}
	if f.gate.is(frozen) {
		return nil
	}
	switch fault {
	case FaultError:
		return errFreeze
	case FaultHang:
		<-ctx.Done()
		return errDown
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return errDown
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gate.is(frozen) {
		return nil
	}
	f.gate.close(frozen)
	f.freezes = append(f.freezes, Freeze{Frozen: time.Now(), Timeout: timeout})
	if len(f.freezes) > maxFreezes {
		f.freezes = f.freezes[1:]
	}
	if timeout > 0 {
		f.deadMan = time.AfterFunc(timeout, f.timeIsUp)
	}
	return nil
}

func (f *freezer) thaw() error {
	if err := f.reachAgent(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(false)
	return nil
}

// timeIsUp is the dead man's switch. As with the real one, there is one try: the agent of a machine that is paused just
// then is not reached, and the guest stays frozen when it goes on.
func (f *freezer) timeIsUp() {
	if f.reachAgent() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last()
	if last == nil || last.Thawed != nil || time.Since(last.Frozen) < last.Timeout {
		return // this was the timer of a freeze that has ended
	}
	f.end(true)
	f.onThaw(*last)
}

// end thaws, with the lock held.
func (f *freezer) end(byTimeout bool) {
	last := f.last()
	if last == nil || last.Thawed != nil {
		return
	}
	if f.deadMan != nil {
		f.deadMan.Stop()
	}
	f.gate.open(frozen)
	now := time.Now()
	last.Thawed, last.ByTimeout = &now, byTimeout
}

func (f *freezer) last() *Freeze {
	if len(f.freezes) == 0 {
		return nil
	}
	return &f.freezes[len(f.freezes)-1]
}

func (f *freezer) reachAgent() error {
	switch {
	case !f.hasAgent:
		return errNoAgent
	case f.gate.is(paused):
		return errStandsStill
	default:
		return nil
	}
}

func (f *freezer) all() []Freeze {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Freeze, len(f.freezes))
	copy(all, f.freezes)
	return all
}
