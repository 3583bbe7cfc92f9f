package lease

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"

	"hayloft.dev/pkg/names"
)

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{Node: "node-1"})
		name := names.SessionLease(s.ID())
		o := NewObserver()
		assert.False(t, o.Alive(s.ID()), "never seen")
		assert.Empty(t, o.Node(s.ID()))

		time.Sleep(time.Second)
		for range 20 { // a watch: an event a second after every beat
			o.Observe(m.lease(name))
			time.Sleep(5 * time.Second)
			assert.True(t, o.Alive(s.ID()))
		}
		assert.Equal(t, "node-1", o.Node(s.ID()))

		o.Observe(m.lease(name))
		c.set(unreachable)
		seen := time.Now()
		for range 14 { // resyncs of the same version are no sign of life
			time.Sleep(time.Second)
			o.Observe(m.lease(name))
		}
		assert.True(t, o.Alive(s.ID()))
		all := o.Sessions()
		require.Len(t, all, 1)
		assert.Equal(t, seen.Add(15*time.Second), all[0].Silent)
		assert.ErrorContains(t, Remove(t.Context(), m.link(), all[0]), "alive")
		time.Sleep(time.Second)
		assert.False(t, o.Alive(s.ID()))
		assert.Equal(t, "node-1", o.Node(s.ID()), "whose jobs are to be given to others")

		ended, _, err := o.Ended(t.Context(), m.link(), "ns", s.ID())
		require.NoError(t, err)
		assert.True(t, ended)
		require.NoError(t, Remove(t.Context(), m.link(), o.Sessions()[0]))
		assert.Nil(t, m.lease(name))
		o.Forget(name)
		assert.Empty(t, o.Sessions())
	})
}

func TestObserverTakesWhatItFirstSeesForAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		c.set(unreachable)
		time.Sleep(time.Hour)
		o := NewObserver()
		o.Observe(m.lease(names.SessionLease(s.ID())))
		assert.True(t, o.Alive(s.ID()))
		time.Sleep(15 * time.Second)
		assert.False(t, o.Alive(s.ID()))
	})
}

// A watch that broke down makes all sessions look dead; a live read does not.
func TestEndedConfirmsByALiveRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := open(t, m.link(), Options{})
		o := NewObserver()
		o.Observe(m.lease(names.SessionLease(s.ID())))
		time.Sleep(time.Minute)
		assert.False(t, o.Alive(s.ID()))
		stale := o.Sessions()[0]
		ended, until, err := o.Ended(t.Context(), m.link(), "ns", s.ID())
		require.NoError(t, err)
		assert.False(t, ended)
		assert.Equal(t, time.Now().Add(15*time.Second), until)
		assert.True(t, o.Alive(s.ID()))
		assert.Error(t, Remove(t.Context(), m.link(), stale), "a session that changed since is not removed")
		assert.NotNil(t, m.lease(names.SessionLease(s.ID())))

		c := m.link()
		c.set(unreachable)
		_, _, err = o.Ended(t.Context(), c, "ns", s.ID())
		assert.Error(t, err, "no answer is not an end")
		// What was read at an unknown moment before the answer came is only
		// known to be as new as the question.
		c.set(func(_ context.Context, _ string, do func() error) error {
			err := do()
			time.Sleep(20 * time.Second)
			return err
		})
		o.Observe(m.lease(names.SessionLease(s.ID())))
		ended, _, err = o.Ended(t.Context(), c, "ns", s.ID())
		require.NoError(t, err)
		assert.False(t, ended)

		ended, _, err = o.Ended(t.Context(), m.link(), "ns", "never-was")
		require.NoError(t, err)
		assert.True(t, ended)
	})
}

func TestObserverPassesOverOtherLeases(t *testing.T) {
	o := NewObserver()
	volume, err := acquisition("ns", "v", "s", "1", nil)
	require.NoError(t, err)
	o.Observe(volume)
	leader := &coordinationv1.Lease{}
	leader.Name = "session-broker"
	o.Observe(leader)
	o.Forget("coordinator")
	assert.Empty(t, o.Sessions())
}
