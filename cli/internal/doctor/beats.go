package doctor

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
)

// leaderLease is the Lease that coordinators elect their leader by.
const leaderLease = "coordinator"

const (
	// beatPoll is how often Leases are looked at, and so how exactly it is known
	// when one was renewed.
	beatPoll = 500 * time.Millisecond
	// beatLimit bounds the look at Leases that say that they last for ever.
	beatLimit = time.Minute
)

// Beat is a Lease that somebody is to renew.
type Beat struct {
	Lease coordinationv1.Lease
	// Beats: it was seen to be renewed. Otherwise it was not for its whole duration,
	// which is how everybody judges it; the times in it are other clocks'.
	Beats bool
	// Ahead is how far the clock of who renewed it is ahead of this machine's, at
	// least; 0 if the two may agree.
	Ahead time.Duration
}

// Holder of the Lease; "" when it was given back.
func (b Beat) Holder() string {
	if b.Lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *b.Lease.Spec.HolderIdentity
}

// Node that a session is on.
func (b Beat) Node() string {
	if n := b.Lease.Annotations[lease.AnnotationNode]; n != "" {
		return n
	}
	return b.Lease.Labels[v1alpha1.LabelNode]
}

func duration(l *coordinationv1.Lease) time.Duration {
	d := lease.DefaultDuration
	if s := l.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		d = time.Duration(*s) * time.Second
	}
	return min(d, beatLimit)
}

// beats watches the Leases of leader and sessions until each was renewed, or is
// known not to be.
func (f *Facts) beats(ctx context.Context) {
	seen := map[string]*Beat{}      // name -> the Lease
	since := map[string]time.Time{} // name -> when the look that first found it had ended
	var last time.Time              // when the look before this one began, by this machine's clock
	var slowest time.Duration       // of the looks
	for {
		at, start := f.Now(), time.Now()
		leases, err := f.current(ctx)
		if err != nil {
			f.cannot("leases", err)
			return
		}
		slowest = max(slowest, time.Since(start))
		waits := false
		for name, l := range leases {
			b := seen[name]
			if b == nil {
				b = &Beat{Lease: l}
				seen[name], since[name] = b, time.Now()
			}
			if b.Lease.ResourceVersion != l.ResourceVersion && !b.Beats {
				b.Beats = true
				if l.Spec.RenewTime != nil {
					// What was not there at the last look was written after that had begun. Its time
					// is from before it was sent, and writing is taken to be as slow as looking.
					b.Ahead = outside(l.Spec.RenewTime.Time, last.Add(-slowest), f.Now())
				}
			}
			b.Lease = l
			waits = waits || !b.Beats && b.Holder() != "" && start.Sub(since[name]) <= duration(&l)
		}
		for name := range seen {
			if _, there := leases[name]; !there {
				delete(seen, name) // it was given back meanwhile
			}
		}
		if !waits {
			break
		}
		last = at
		select {
		case <-ctx.Done():
			return
		case <-time.After(beatPoll):
		}
	}
	for name, b := range seen {
		if name == leaderLease {
			f.Leader = b
		} else {
			f.Sessions = append(f.Sessions, *b)
		}
	}
}

// outside is how far a time lies outside of when it may have been taken: negative if
// it is before that.
func outside(told, earliest, latest time.Time) time.Duration {
	return max(0, told.Sub(latest)) + min(0, told.Sub(earliest))
}

// current are the Leases of leader and sessions, by name.
func (f *Facts) current(ctx context.Context) (map[string]coordinationv1.Lease, error) {
	out := map[string]coordinationv1.Lease{}
	var leader coordinationv1.Lease
	switch err := f.Client.Get(ctx, client.ObjectKey{Namespace: f.System, Name: leaderLease}, &leader); {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, fmt.Errorf("reading the coordinators' lease: %w", err)
	default:
		out[leaderLease] = leader
	}
	var list coordinationv1.LeaseList
	if err := f.Client.List(ctx, &list, client.InNamespace(f.System), client.MatchingLabels{v1alpha1.LabelLease: lease.KindSession}); err != nil {
		return nil, fmt.Errorf("listing the sessions of agents: %w", err)
	}
	for i := range list.Items {
		out[list.Items[i].Name] = list.Items[i]
	}
	return out, nil
}

// living are the sessions that beat, by their ID.
func (f *Facts) living() map[string]bool {
	out := map[string]bool{}
	for i := range f.Sessions {
		if b := &f.Sessions[i]; b.Beats {
			out[b.Lease.Name[len(names.SessionLease("")):]] = true
		}
	}
	return out
}
