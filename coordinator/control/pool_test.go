package control

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/targetio/protocol"
)

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, probe := newSlots(2), lane{quick: true}
		took := make(chan struct{}, 10)
		for range 5 {
			go func() {
				if s.take(t.Context(), probe) == nil {
					took <- struct{}{}
				}
			}()
		}
		synctest.Wait()
		require.Len(t, took, 2)
		s.resize(3)
		synctest.Wait()
		require.Len(t, took, 3)
		s.resize(1) // what was taken stays so
		s.give(probe)
		s.give(probe)
		synctest.Wait()
		require.Len(t, took, 3)
		s.give(probe)
		synctest.Wait()
		require.Len(t, took, 4)
		s.give(probe)
		synctest.Wait()
		require.Len(t, took, 5)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.take(ctx, probe), context.DeadlineExceeded)
		s.give(probe)
		require.NoError(t, s.take(t.Context(), probe), "who gave up has none")
	})
}

func TestSlotsGoToWhoHasWaitedLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := newSlots(1), lane{place: "one"}
		require.NoError(t, s.take(t.Context(), l))
		took := make(chan int, 3)
		ctx, cancel := context.WithCancel(t.Context())
		for i, ctx := range []context.Context{t.Context(), ctx, t.Context()} {
			go func() {
				if s.take(ctx, l) == nil {
					took <- i
				}
			}()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		s.give(l)
		require.Equal(t, 0, <-took)
		s.give(l)
		require.Equal(t, 2, <-took)
	})
}

// No target gets all slots, and the last one is for probes.
func TestSlotsOfTargets(t *testing.T) {
	for bound, want := range map[int]struct{ one, two, probes int }{
		1: {1, 0, 0}, 2: {1, 0, 1}, 3: {2, 0, 1}, 4: {3, 0, 1}, 8: {6, 1, 1}, 16: {12, 3, 1},
	} {
		s := newSlots(bound)
		fill := func(l lane) (n int) {
			for ; s.room(l); n++ {
				s.count(l, 1)
			}
			return n
		}
		one := lane{place: "one"}
		require.Equal(t, want.one, fill(one), bound)
		require.Equal(t, want.two, fill(lane{place: "two"}), bound)
		require.Equal(t, want.probes, fill(lane{place: "one", quick: true}), bound)
		require.False(t, s.room(lane{}))
		s.count(one, -1)
		require.True(t, s.room(one), bound)
	}
}

// Work on a target that falls silent ends with what a probe has found, whether it has
// begun or not, and work on others goes on.
func TestPoolOfASilentTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		p := newPool(ctx, 8)
		ended := make(chan types.UID, 100)
		hangs := func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("it was ended: %w", context.Cause(ctx))
		}
		work := plan.Work{Op: plan.OpDeletePoint}
		for i := range 20 {
			owner := types.UID(fmt.Sprint("hung-", i))
			p.run(owner, work, lane{place: "hung"}, time.Hour, hangs, func() { ended <- owner })
		}
		synctest.Wait()
		for i := range 3 {
			owner := types.UID(fmt.Sprint("well-", i))
			p.run(owner, work, lane{place: "well"}, time.Hour, func(context.Context) (any, error) { return nil, nil }, func() { ended <- owner })
		}
		probed := false
		p.run("hung", plan.Work{Op: "Probe"}, lane{place: "hung", quick: true}, time.Minute, func(context.Context) (any, error) { probed = true; return nil, nil }, func() {})
		synctest.Wait()
		require.Len(t, ended, 3, "others have a slot though a silent target has work for all")
		require.True(t, probed)
		for range 3 {
			require.Contains(t, <-ended, "well-")
		}

		found := &plan.WorkError{Reason: string(protocol.Timeout), Message: "it gave no answer", Transient: true}
		p.silent("hung", found)
		synctest.Wait()
		require.Len(t, ended, 20)
		for i := range 20 {
			s := p.states(types.UID(fmt.Sprint("hung-", i)))[work]
			require.False(t, s.Running)
			require.Equal(t, found, s.Err)
		}
		p.run("hung-0", work, lane{place: "hung"}, time.Hour, func(context.Context) (any, error) { return "done", nil }, func() {})
		synctest.Wait()
		require.Nil(t, p.states("hung-0")[work].Err, "it is only what a probe has found that ends work")

		// What ends with the process, or because its owner goes, is no word on the target.
		p.run("late", work, lane{place: "hung"}, time.Hour, hangs, func() {})
		synctest.Wait()
		end()
		synctest.Wait()
		require.Equal(t, string(protocol.Internal), p.states("late")[work].Err.Reason)
	})
}
