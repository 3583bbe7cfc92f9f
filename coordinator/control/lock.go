package control

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lock is the Lease that says who leads. client-go's elector that was asleep for
// longer than the Lease lasts sees there that another one leads, and goes on leading
// beside it until its renew deadline is over (leaderelection.LeaderElector.renew of
// client-go v0.34). This one ends its process as soon as it sees that.
//
// The elector uses it from one goroutine.
type lock struct {
	resourcelock.Interface
	leads bool
	lost  chan string // who leads instead; has room for one
}

func newLock(of resourcelock.Interface) *lock {
	return &lock{Interface: of, lost: make(chan string, 1)}
}

// Get notes who holds the Lease if this one did: also nobody, since then another one
// has held it in between.
func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err == nil && l.leads && record.HolderIdentity != l.Identity() {
		l.leads = false
		l.lost <- record.HolderIdentity
	}
	return record, raw, err
}

func (l *lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.wrote(r, l.Interface.Create(ctx, r))
}

func (l *lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.wrote(r, l.Interface.Update(ctx, r))
}

func (l *lock) wrote(r resourcelock.LeaderElectionRecord, err error) error {
	if err == nil {
		l.leads = r.HolderIdentity == l.Identity()
	}
	return err
}

// Start runs while this one leads. It fails when another one does instead, which
// ends the manager.
func (l *lock) Start(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case by := <-l.lost:
		if by == "" {
			by = "another coordinator"
		}
		return fmt.Errorf("leader election lost: %s took the lead while this one was silent for longer than its lease; was the process or its machine stopped? It ends, and is to be started again", by)
	}
}
