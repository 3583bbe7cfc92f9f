package control

import (
	"context"
	"time"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// tellTime is what a look for leftovers leaves of its refresh's time, to write down
// what it found.
const tellTime = 10 * time.Second

// countLeftovers looks for leftovers after a refresh that went well, when the last
// look is long ago: within what that refresh may take at most, of which an unchanged
// target leaves nearly all. What it costs beside it lengthens no interval. It reads
// no documents and removes nothing, so the cache is good enough.
func (w *refreshing) countLeftovers(ctx context.Context) {
	room := w.allowance - w.cost.CPU
	end, bounded := ctx.Deadline()
	if !w.countDue(time.Now()) || room < w.allowance/2 || !bounded || time.Until(end) < 2*tellTime {
		return
	}
	looking, cancel := context.WithDeadline(ctx, end.Add(-tellTime))
	defer cancel()
	result, cost, err := w.lookForLeftovers(looking, w.target, w.cache, protocol.LeftoversRequest{
		Brief: true, CPUMilliseconds: max(1, (room / 2).Milliseconds()), // the kernel ends it at twice that
	})
	spent := costOf(cost, room)
	w.cost.Beside, w.beside = spent.CPU, spent.Requests
	found := leftoversOf(result, err)
	err = w.tellTarget(ctx, w.target, func(s *v1alpha1.BackupTargetStatus) {
		if s.Leftovers != nil {
			found.Requested = s.Leftovers.Requested
		}
		s.Leftovers = &found
	})
	if err != nil {
		w.Log.Warn("what leftovers there are on a target could not be written down", "target", w.target.Name, "error", err)
	}
}

// countDue: nobody has looked for long, and nobody is about to.
func (w *refreshing) countDue(now time.Time) bool {
	st := w.target.Status.Leftovers
	switch {
	case w.LeftoversEvery <= 0, leftoversWanted(w.target):
		return false
	case st == nil || st.Time == nil:
		return true
	}
	return now.Sub(st.Time.Time) >= w.LeftoversEvery
}
