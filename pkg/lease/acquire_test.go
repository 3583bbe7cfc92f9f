package lease

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"hayloft.dev/pkg/names"
)

func acquire(t *testing.T, s *Session, volumes ...string) *Held {
	t.Helper()
	h, err := s.AcquireAll(t.Context(), volumes)
	require.NoError(t, err)
	return h
}

// later acquires in the background.
func later(ctx context.Context, s *Session, volumes ...string) <-chan result {
	done := make(chan result, 1)
	go func() {
		h, err := s.AcquireAll(ctx, volumes)
		done <- result{h, err, time.Now()}
	}()
	return done
}

type result struct {
	held *Held
	err  error
	at   time.Time
}

func holderOf(m *memory, volume string) string {
	l := m.lease(names.VolumeLease(volume))
	if l == nil {
		return "no lease"
	}
	return holder(l)
}

func TestAcquireAndReleaseCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		c.counted()

		h := acquire(t, s, "b", "a", "b")
		assert.Equal(t, map[string]int64{"a": 1, "b": 1}, h.Epochs())
		assert.Equal(t, map[string]int{"get volume": 2, "create volume": 2}, c.counted())
		require.NoError(t, h.Check(t.Context()))
		assert.Empty(t, c.counted(), "what was just written need not be read")
		time.Sleep(time.Second)
		require.NoError(t, h.Check(t.Context()))
		assert.Equal(t, map[string]int{"get volume": 2}, c.counted())
		require.NoError(t, h.Release(t.Context()))
		assert.Equal(t, map[string]int{"update volume": 2}, c.counted())

		h = acquire(t, s, "a")
		assert.Equal(t, map[string]int64{"a": 2}, h.Epochs())
		assert.Equal(t, map[string]int{"update volume": 1}, c.counted(), "what this session gave back last need not be read")
		require.NoError(t, h.Release(t.Context()))
		require.NoError(t, h.Release(t.Context()), "releasing twice is harmless")
		assert.ErrorIs(t, h.Check(t.Context()), ErrLost)
	})
}

func TestAcquireNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := open(t, newMemory().link(), Options{}).AcquireAll(t.Context(), nil)
		assert.Error(t, err)
	})
}

func TestSameSessionAcquiresAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, newMemory().link(), Options{})
		first := acquire(t, s, "a")
		second := acquire(t, s, "a")
		assert.Equal(t, map[string]int64{"a": 2}, second.Epochs())
		assert.ErrorIs(t, first.Check(t.Context()), ErrLost)
		require.NoError(t, first.Release(t.Context()), "a lost lease is no error")
		assert.NoError(t, second.Check(t.Context()), "and not given back by who lost it")
	})
}

// What a session remembers of a lease is only ever the base of a
// compare-and-swap: whatever happened to it meanwhile, the rules are the same.
func TestRememberedLeaseThatIsNotTrueAnyMore(t *testing.T) {
	for name, tc := range map[string]struct {
		meanwhile func(t *testing.T, m *memory, b *Session)
		epoch     int64
		waits     bool
	}{
		"taken and given back": {func(t *testing.T, _ *memory, b *Session) { require.NoError(t, acquire(t, b, "v").Release(t.Context())) }, 3, false},
		"held":                 {func(t *testing.T, _ *memory, b *Session) { acquire(t, b, "v") }, 3, true},
		"touched": {func(_ *testing.T, m *memory, _ *Session) {
			m.change(names.VolumeLease("v"), func(l *coordinationv1.Lease) { l.Labels["x"] = "y" })
		}, 2, false},
		"gone": {func(_ *testing.T, m *memory, _ *Session) { m.change(names.VolumeLease("v"), nil) }, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				a, b := open(t, m.link(), Options{Node: "a"}), open(t, m.link(), Options{Node: "b"})
				require.NoError(t, acquire(t, a, "v").Release(t.Context()))
				tc.meanwhile(t, m, b)
				got := later(t.Context(), a, "v")
				if tc.waits {
					time.Sleep(time.Minute)
					synctest.Wait()
					assert.Empty(t, got)
					assert.Equal(t, b.ID(), holderOf(m, "v"))
					require.NoError(t, b.Close(t.Context()))
				}
				r := <-got
				require.NoError(t, r.err)
				assert.Equal(t, map[string]int64{"v": tc.epoch}, r.held.Epochs())
				time.Sleep(time.Second)
				assert.NoError(t, r.held.Check(t.Context()))
			})
		})
	}
}

func TestTakeoverAfterSilence(t *testing.T) {
	for name, tc := range map[string]struct {
		mine, theirs time.Duration
		shrink       bool
		atLeast      time.Duration
	}{
		"equal durations":                       {15 * time.Second, 15 * time.Second, false, 15 * time.Second},
		"theirs is longer":                      {15 * time.Second, time.Minute, false, time.Minute},
		"theirs is shorter":                     {15 * time.Second, 3 * time.Second, false, 15 * time.Second},
		"theirs was shrunk in the object":       {15 * time.Second, 15 * time.Second, true, 15 * time.Second},
		"fractions of a second are rounded up":  {time.Second, 2100 * time.Millisecond, false, 3 * time.Second},
		"a short one of mine, a longer of them": {600 * time.Millisecond, 5 * time.Second, false, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				dead := m.link()
				a := open(t, dead, Options{Node: "a", Duration: tc.theirs})
				lost := acquire(t, a, "v")
				dead.set(unreachable)
				if tc.shrink {
					m.change(names.SessionLease(a.ID()), func(l *coordinationv1.Lease) { *l.Spec.LeaseDurationSeconds = 1 })
				}
				var told atomic.Int32
				b := open(t, m.link(), Options{Node: "b", Duration: tc.mine, OnWait: func(volume, by string) {
					assert.Equal(t, "v", volume)
					assert.Equal(t, a.ID(), by)
					told.Add(1)
				}})
				began := time.Now()
				h := acquire(t, b, "v")
				assert.GreaterOrEqual(t, time.Since(began), tc.atLeast)
				assert.Less(t, time.Since(began), tc.atLeast+5*time.Second)
				assert.Equal(t, map[string]int64{"v": 2}, h.Epochs())
				assert.EqualValues(t, 1, told.Load())
				assert.ErrorIs(t, context.Cause(a.Context()), ErrFenced, "the former holder knew before")
				assert.ErrorIs(t, lost.Check(t.Context()), ErrFenced)
				dead.set(nil)
				require.NoError(t, lost.Release(t.Context()))
				assert.NoError(t, h.Check(t.Context()))
			})
		})
	}
}

func TestLivingHolderIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b := open(t, m.link(), Options{Node: "a"}), open(t, m.link(), Options{Node: "b"})
		h := acquire(t, a, "v")
		got := later(t.Context(), b, "v")
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Empty(t, got)
		require.NoError(t, h.Check(t.Context()))
		released := time.Now()
		require.NoError(t, h.Release(t.Context()))
		r := <-got
		require.NoError(t, r.err)
		assert.Less(t, r.at.Sub(released), 3*time.Second, "handed over, not timed out")
	})
}

func TestWaiterHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b, c := open(t, m.link(), Options{Node: "a"}), open(t, m.link(), Options{Node: "b"}), open(t, m.link(), Options{Node: "c"})
		blocker := acquire(t, a, "y")
		both := later(t.Context(), b, "x", "y")
		time.Sleep(10 * time.Second)
		x := acquire(t, c, "x")
		require.NoError(t, blocker.Release(t.Context()))
		time.Sleep(10 * time.Second)
		assert.Empty(t, both)
		require.NoError(t, x.Release(t.Context()))
		r := <-both
		require.NoError(t, r.err)
		assert.Equal(t, map[string]int64{"x": 2, "y": 2}, r.held.Epochs(), "taken once, not at every look")
	})
}

func TestWhatWasTakenIsGivenBackWhenAnotherIsFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		ca := m.link()
		a, b := open(t, ca, Options{Node: "a"}), open(t, m.link(), Options{Node: "b"})
		var y *Held
		ca.set(func(_ context.Context, request string, do func() error) error {
			if request == "create volume-y" {
				y = acquire(t, b, "y") // between a's look and its write
				ca.set(nil)
			}
			return do()
		})
		got := later(t.Context(), a, "x", "y")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Empty(t, got)
		assert.Empty(t, holderOf(m, "x"), "no partial hold")
		require.NoError(t, y.Release(t.Context()))
		r := <-got
		require.NoError(t, r.err)
		assert.Equal(t, map[string]int64{"x": 2, "y": 2}, r.held.Epochs())
	})
}

func TestOnWaitIsToldOfAHolderOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var told []string
		a, c := open(t, m.link(), Options{Node: "a"}), open(t, m.link(), Options{Node: "c"})
		cb := m.link()
		b := open(t, cb, Options{Node: "b", OnWait: func(volume, by string) { told = append(told, volume+" "+by) }})
		holders := []*Session{a, c}
		h := acquire(t, a, "v")
		cb.set(func(_ context.Context, request string, do func() error) error {
			if request == "update volume-v" && len(holders) > 0 { // another is faster, first the same one again
				h = acquire(t, holders[0], "v")
				holders = holders[1:]
			}
			return do()
		})
		got := later(t.Context(), b, "v")
		for range 3 {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			assert.Empty(t, got)
			require.NoError(t, h.Release(t.Context()))
		}
		require.NoError(t, (<-got).err)
		assert.Equal(t, []string{"v " + a.ID(), "v " + c.ID()}, told)
	})
}

func TestClosedHoldersVolumesAreFreeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b := open(t, m.link(), Options{Node: "a"}), open(t, m.link(), Options{Node: "b"})
		acquire(t, a, "v")
		require.NoError(t, a.Close(t.Context()))
		began := time.Now()
		assert.Equal(t, map[string]int64{"v": 2}, acquire(t, b, "v").Epochs())
		assert.Zero(t, time.Since(began))
	})
}

func TestHolderThatCannotBeASessionIsNoHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := open(t, m.link(), Options{})
		acquire(t, s, "v")
		m.change(names.VolumeLease("v"), func(l *coordinationv1.Lease) { *l.Spec.HolderIdentity = "../Some Body" })
		assert.Equal(t, map[string]int64{"v": 2}, acquire(t, s, "v").Epochs())
	})
}

func TestAcquireEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, cb := open(t, m.link(), Options{Node: "a"}), m.link()
		b := open(t, cb, Options{Node: "b"})
		acquire(t, a, "v")

		ctx, cancel := context.WithCancel(t.Context())
		got := later(ctx, b, "v")
		time.Sleep(time.Minute)
		cancel()
		assert.ErrorIs(t, (<-got).err, context.Canceled)

		got = later(t.Context(), b, "v")
		time.Sleep(time.Minute)
		require.NoError(t, b.Close(t.Context()))
		assert.ErrorIs(t, (<-got).err, ErrClosed)

		b = open(t, cb, Options{Node: "b"})
		got = later(t.Context(), b, "v")
		time.Sleep(time.Minute)
		cb.set(silent)
		assert.ErrorIs(t, (<-got).err, ErrFenced)

		cb.set(nil)
		b = open(t, cb, Options{Node: "b"})
		cb.set(func(_ context.Context, request string, do func() error) error {
			if strings.Contains(request, "volume") {
				return apierrors.NewForbidden(resource, "v", nil)
			}
			return do()
		})
		_, err := b.AcquireAll(t.Context(), []string{"v"})
		assert.True(t, apierrors.IsForbidden(err), "what will not change is said at once")
	})
}

func TestVolumesTakenByASessionThatEndsMeanwhileAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		c.set(func(_ context.Context, request string, do func() error) error {
			if request == "create volume-b" {
				m.change(names.SessionLease(s.ID()), nil)
				time.Sleep(6 * time.Second) // over a beat, which finds the session's lease gone
			}
			return do()
		})
		_, err := s.AcquireAll(t.Context(), []string{"a", "b"})
		require.ErrorIs(t, err, ErrFenced)
		synctest.Wait()
		assert.Empty(t, holderOf(m, "a"))
		assert.Empty(t, holderOf(m, "b"))
	})
}
