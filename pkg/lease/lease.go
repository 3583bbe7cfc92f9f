// Package lease gives an agent sole ownership of Longhorn volumes, on
// coordination.k8s.io Leases and nothing else. docs/design.md, "Leases", is the
// protocol.
//
// A process opens a Session, which keeps one heartbeat Lease alive, and takes
// volumes in its name. A volume's Lease names the session and carries an epoch
// that grows with every acquisition. Whoever wants a volume that is held waits
// until the holder gives it back or its session has ended.
//
// Ownership is a promise about time, so it is judged on the monotonic clock
// only; the timestamps in the objects are for people. A session gives itself up
// before anybody else may think it dead, which holds as long as the clocks of
// two machines run at about the same rate. It cannot stop a request that is
// already under way when a session ends: what is done under a lease must bear
// to arrive late.
//
// The package elects no leader, assigns no work and knows nothing of engines.
package lease

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Why a session or a held lease is over. Errors of this package wrap them.
var (
	// ErrFenced: the session could not renew its heartbeat for two thirds of
	// its duration, or somebody else changed or deleted it.
	ErrFenced = errors.New("lease session fenced")
	// ErrClosed: the session was closed by its own process.
	ErrClosed = errors.New("lease session closed")
	// ErrLost: the volume's lease has another holder or epoch, or is gone.
	ErrLost = errors.New("volume lease lost")
)

const (
	// DefaultDuration of a session, as in docs/design.md.
	DefaultDuration = 15 * time.Second
	// MaxDuration bounds how long anybody can have to wait for a session that
	// ended without a word.
	MaxDuration = 10 * time.Minute
	// minDuration leaves room for a few requests within a third of it.
	minDuration = 100 * time.Millisecond
)

// Values of the label v1alpha1.LabelLease, and annotations of the Leases.
const (
	KindSession = "session"
	KindVolume  = "volume"

	// AnnotationVolume holds the volume of a volume lease: volume names need
	// not be legal label values.
	AnnotationVolume = "hayloft.dev/volume"
	// AnnotationNode holds the full node name of a session Lease, whose label
	// holds a digest where the name is too long for one.
	AnnotationNode = "hayloft.dev/node"

	// annotationClaim tells an owner's own writes of a volume lease apart,
	// annotationBeat those of a session Lease: a request that got no answer is
	// found again by them.
	annotationClaim = "hayloft.dev/claim"
	annotationBeat  = "hayloft.dev/beat"
)

// Options of a session.
type Options struct {
	// Namespace of all Leases.
	Namespace string
	// Node that the process runs on, a legal object name.
	Node string
	// Duration after whose silence others may take this session's volumes;
	// zero means DefaultDuration. It is published in whole seconds, rounded
	// up.
	Duration time.Duration
	// OnWait is told when AcquireAll starts waiting for a volume, and again
	// when another session than before is waited for. It must not block.
	OnWait func(volume, holder string)
	// OnBeat is told how long each renewal of the session took and how it went.
	// It must not block.
	OnBeat func(took time.Duration, err error)
	// Log may be nil.
	Log *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Duration == 0 {
		o.Duration = DefaultDuration
	}
	if o.Duration < minDuration || o.Duration > MaxDuration {
		return o, fmt.Errorf("lease duration %v is not between %v and %v", o.Duration, minDuration, MaxDuration)
	}
	if o.Namespace == "" {
		return o, errors.New("no namespace for leases given")
	}
	if msgs := validation.IsDNS1123Subdomain(o.Node); len(msgs) > 0 {
		return o, fmt.Errorf("node name %q: %s", o.Node, msgs[0])
	}
	if o.OnWait == nil {
		o.OnWait = func(string, string) {}
	}
	if o.OnBeat == nil {
		o.OnBeat = func(time.Duration, error) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
