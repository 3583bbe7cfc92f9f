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
		c.set(silent)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := h.Check(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, ErrLost)
		assert.ErrorIs(t, h.Check(t.Context()), ErrFenced, "with no deadline of its own it ends with the session")
	})
}
