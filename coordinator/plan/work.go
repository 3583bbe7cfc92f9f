package plan

import (
	"fmt"
	"slices"
	"time"
)

// Op is one kind of target work. For a point of type Snapshot the target is the
// Secret in the cluster that holds its document.
type Op string

// The operations; all are idempotent, so a new leader simply does them again.
const (
	OpCapture        Op = "Capture"
	OpFinalize       Op = "Finalize"
	OpReadDocument   Op = "ReadDocument"
	OpInspectBackups Op = "InspectBackups"
	OpMakeSecrets    Op = "MakeSecrets"
	OpInspectAttempt Op = "InspectAttempt"
	OpDropAttempt    Op = "DropAttempt"
	OpDeletePoint    Op = "DeletePoint"
	OpVerifyDocument Op = "VerifyDocument"
	OpVerifyDisk     Op = "VerifyDisk"
)

// Work names one piece of target work of an object.
type Work struct {
	Op Op
	// Arg tells apart several of one kind: the backup of an InspectAttempt or a
	// DropAttempt and which look it is, the backups of a Finalize, the request of a
	// verification and its disk.
	Arg string
}

// BackupRef names one Longhorn backup on the target.
type BackupRef struct{ Volume, Backup string }

// Order asks for a piece of work.
type Order struct {
	Work
	// Backups are what InspectAttempt looks at, and DropAttempt and DeletePoint
	// remove.
	Backups []BackupRef
}

// WorkError is how a piece of work failed; Reason is the target worker's.
type WorkError struct {
	Reason    string
	Message   string
	Transient bool
}

func (e *WorkError) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Message) }

// WorkState is what is known of a piece of work that was started.
type WorkState struct {
	Running bool
	// Tries that ended.
	Tries int
	// FirstFailed is when the first of an unbroken row of tries failed.
	FirstFailed time.Time
	Ended       time.Time
	// Err of the last try; nil when it went well.
	Err *WorkError
}

// Works is what is known of an object's target work.
type Works map[Work]WorkState

// outcome of looking at a piece of work.
type outcome int

const (
	pending outcome = iota // running, to be started, or to be tried again
	done
	gaveUp
)

// work looks at a piece of work and orders it where that is due. Transient
// failures are tried again for patience; with patience < 0 every failure is
// tried again for ever. The error is the last one, also while pending.
func (a *Actions) work(now time.Time, c Config, states Works, o Order, patience time.Duration) (outcome, *WorkError) {
	s, known := states[o.Work]
	switch {
	case a.orders(o.Work):
		return pending, s.Err
	case !known:
		a.Start = append(a.Start, o)
		return pending, nil
	case s.Running:
		return pending, s.Err
	case s.Err == nil:
		return done, nil
	case patience >= 0 && (!s.Err.Transient || s.Ended.Sub(s.FirstFailed) >= patience):
		return gaveUp, s.Err
	}
	if wait := remaining(now, s.Ended, backoff(c.WorkRetry, c.WorkRetryMax, 2, s.Tries)); wait > 0 {
		a.again(wait)
		return pending, s.Err
	}
	a.Start = append(a.Start, o)
	return pending, s.Err
}

// orders: this very intent starts the work already.
func (a *Actions) orders(w Work) bool {
	return slices.ContainsFunc(a.Start, func(o Order) bool { return o.Work == w })
}
