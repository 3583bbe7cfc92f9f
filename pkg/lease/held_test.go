package lease

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"hayloft.dev/pkg/names"
)

func TestReleaseThatFailedIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		h := acquire(t, s, "v")
		c.set(func(_ context.Context, request string, do func() error) error {
			if strings.Contains(request, "volume") {
				return apierrors.NewForbidden(resource, "v", nil)
			}
			return do()
		})
		assert.Error(t, h.Release(t.Context()))
		time.Sleep(5 * time.Minute)
		assert.Equal(t, s.ID(), holderOf(m, "v"))
		c.set(nil)
		time.Sleep(5 * time.Second)
		assert.Empty(t, holderOf(m, "v"))
		assert.NoError(t, s.Context().Err())
	})
}

func TestReleaseWithAnEndedContextHappensInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := open(t, m.link(), Options{})
		h := acquire(t, s, "v")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.Error(t, h.Release(ctx))
		time.Sleep(5 * time.Second)
		assert.Empty(t, holderOf(m, "v"))
	})
}

func TestReleaseAgainstASecondWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := open(t, m.link(), Options{})
		h := acquire(t, s, "kept", "stolen", "gone")
		m.change(names.VolumeLease("kept"), func(l *coordinationv1.Lease) { l.Labels["x"] = "y" })
		m.change(names.VolumeLease("stolen"), func(l *coordinationv1.Lease) { *l.Spec.HolderIdentity = "other" })
		m.change(names.VolumeLease("gone"), nil)
		require.NoError(t, h.Release(t.Context()))
		assert.Empty(t, holderOf(m, "kept"))
		assert.Equal(t, "other", holderOf(m, "stolen"))
		assert.Equal(t, "no lease", holderOf(m, "gone"))
	})
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		how  func(*coordinationv1.Lease)
		want error
	}{
		"untouched":    {func(l *coordinationv1.Lease) { l.Labels["x"] = "y" }, nil},
		"other holder": {func(l *coordinationv1.Lease) { *l.Spec.HolderIdentity = "other" }, ErrLost},
		"other epoch":  {func(l *coordinationv1.Lease) { *l.Spec.LeaseTransitions++ }, ErrLost},
		"gone":         {nil, ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				h := acquire(t, open(t, m.link(), Options{}), "a", "b")
				m.change(names.VolumeLease("b"), tc.how)
				time.Sleep(time.Second) // until the write that took it proves nothing any more
				assert.ErrorIs(t, h.Check(t.Context()), tc.want)
			})
		})
	}
}

func TestCheckLooksAtTheClockAfterTheReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().link()
		s := open(t, c, Options{})
		h := acquire(t, s, "a")
		time.Sleep(time.Second)
		c.set(func(ctx context.Context, request string, do func() error) error {
			if strings.HasPrefix(request, "get") {
				time.Sleep(11 * time.Second)
				return do()
			}
			return unreachable(ctx, request, do)
		})
		assert.ErrorIs(t, h.Check(t.Context()), ErrFenced)
	})
}

func TestCheckWithoutAnAnswerIsNoLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().link()
		s := open(t, c, Options{})
		h := acquire(t, s, "a")
		time.Sleep(time.Second)
		c.set(silent)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := h.Check(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, ErrLost)
		assert.ErrorIs(t, h.Check(t.Context()), ErrFenced, "with no deadline of its own it ends with the session")
	})
}

// An answered write or read proves a lease for a second from when it was sent.
func TestProofOfALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		const travel = 300 * time.Millisecond
		c.set(func(_ context.Context, _ string, do func() error) error {
			err := do()
			time.Sleep(travel)
			return err
		})
		h := acquire(t, s, "v")
		c.counted()
		time.Sleep(time.Second - travel - time.Millisecond)
		require.NoError(t, h.Check(t.Context()))
		assert.Empty(t, c.counted(), "sent less than a second ago")
		time.Sleep(time.Millisecond)
		require.NoError(t, h.Check(t.Context()))
		assert.Equal(t, map[string]int{"get volume": 1}, c.counted(), "counted from when it was sent, not from when it was answered")
		require.NoError(t, h.Check(t.Context()))
		assert.Empty(t, c.counted(), "the read counts too")
		m.change(names.VolumeLease("v"), func(l *coordinationv1.Lease) { *l.Spec.HolderIdentity = "other" })
		time.Sleep(time.Second)
		assert.ErrorIs(t, h.Check(t.Context()), ErrLost)
		assert.ErrorIs(t, h.Check(t.Context()), ErrLost, "a failed look proves nothing")
	})
}

func TestNoProofOutlivesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().link()
		s := open(t, c, Options{Duration: 15 * time.Second})
		time.Sleep(4 * time.Second)
		c.set(func(ctx context.Context, request string, do func() error) error {
			if strings.HasPrefix(request, "update session") {
				return unreachable(ctx, request, do)
			}
			return do()
		})
		time.Sleep(5900 * time.Millisecond) // the session's validity ends after 10 s
		h := acquire(t, s, "v")
		require.NoError(t, h.Check(t.Context()))
		time.Sleep(200 * time.Millisecond)
		assert.ErrorIs(t, h.Check(t.Context()), ErrFenced)
	})
}

// A session with a short duration is lost in less than a second.
func TestProofOfAShortSessionIsShorter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().link()
		h := acquire(t, open(t, c, Options{Duration: 1500 * time.Millisecond}), "v")
		c.counted()
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, h.Check(t.Context()))
		assert.Equal(t, 1, c.counted()["get volume"])
	})
}

func TestSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		both := acquire(t, s, "a", "b")
		c.counted()
		parts := both.Split()
		require.Len(t, parts, 2)
		assert.Equal(t, map[string]int64{"a": 1}, parts["a"].Epochs())
		require.NoError(t, parts["a"].Check(t.Context()))
		require.NoError(t, parts["b"].Check(t.Context()))
		assert.Empty(t, c.counted(), "their proofs go with them")

		assert.ErrorIs(t, both.Check(t.Context()), ErrLost)
		require.NoError(t, both.Release(t.Context()))
		assert.Equal(t, s.ID(), holderOf(m, "a"), "the whole is spent")
		require.NoError(t, parts["a"].Release(t.Context()))
		assert.Empty(t, holderOf(m, "a"))
		assert.Equal(t, s.ID(), holderOf(m, "b"))
		assert.Empty(t, both.Split())
		time.Sleep(time.Second)
		require.NoError(t, parts["b"].Check(t.Context()))
		assert.ErrorIs(t, parts["a"].Check(t.Context()), ErrLost)
	})
}
