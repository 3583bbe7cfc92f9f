package lease

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/names"
)

func TestWriteWithoutAnAnswerIsNotTwoBeliefs(t *testing.T) {
	for name, request := range map[string]string{"create": "create volume", "update": "update volume"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				c := m.link()
				s := open(t, c, Options{})
				want := int64(1)
				if name == "update" {
					require.NoError(t, acquire(t, s, "v").Release(t.Context()))
					want = 2
				}
				c.set(unanswered(request))
				h := acquire(t, s, "v")
				c.set(nil)
				assert.Equal(t, map[string]int64{"v": want}, h.Epochs(), "stored once, believed once")
				assert.NoError(t, h.Check(t.Context()))

				// The same for giving back.
				c.set(unanswered("update volume"))
				require.NoError(t, h.Release(t.Context()))
				assert.Empty(t, holderOf(m, "v"))
			})
		})
	}
}

// Two calls of one session meet in the same epoch: only the claim tells whose
// write was stored.
func TestUnansweredWriteOfAnotherCallIsNotMine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		var first *Held
		c.set(func(_ context.Context, request string, do func() error) error {
			if request != "create volume-v" {
				return do()
			}
			c.set(nil)
			first = acquire(t, s, "v")
			return context.DeadlineExceeded // the outer write never arrives
		})
		second := acquire(t, s, "v")
		assert.Equal(t, map[string]int64{"v": 1}, first.Epochs())
		assert.Equal(t, map[string]int64{"v": 2}, second.Epochs())
		assert.ErrorIs(t, first.Check(t.Context()), ErrLost)
		assert.NoError(t, second.Check(t.Context()))
	})
}

func TestWriteThatLandsAfterTheCallerLeftIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		c.set(func(ctx context.Context, request string, do func() error) error {
			if strings.HasPrefix(request, "create volume") {
				time.AfterFunc(20*time.Second, func() { _ = do() })
				return silent(ctx, request, nil)
			}
			return do()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.AcquireAll(ctx, []string{"v"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		c.set(nil)
		time.Sleep(21 * time.Second)
		assert.NotNil(t, m.lease(names.VolumeLease("v")), "it was stored late")
		time.Sleep(5 * time.Second)
		assert.Empty(t, holderOf(m, "v"), "and given back")

		// The same with a write that is never stored.
		c.set(func(ctx context.Context, request string, do func() error) error {
			if strings.HasPrefix(request, "update volume") {
				return silent(ctx, request, nil)
			}
			return do()
		})
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.AcquireAll(ctx, []string{"v"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		c.set(nil)
		time.Sleep(3 * time.Minute)
		c.counted()
		time.Sleep(time.Minute)
		assert.Equal(t, map[string]int{"update session": 12}, c.counted(), "nobody looks for it for ever")
	})
}
