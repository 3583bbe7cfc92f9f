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

	"hayloft.dev/pkg/names"
)

// endsAfter waits for the session's context to end.
func endsAfter(t *testing.T, s *Session) time.Duration {
	t.Helper()
	began := time.Now()
	select {
	case <-s.Context().Done():
	case <-time.After(10 * time.Minute):
		t.Fatal("the session did not end")
	}
	return time.Since(began)
}

func TestSessionBeatsThreeTimesADuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		time.Sleep(10*time.Minute + time.Second)
		assert.NoError(t, s.Context().Err())
		assert.Equal(t, map[string]int{"create session": 1, "update session": 120}, c.counted())
		assert.Equal(t, s.ID(), holder(m.lease(names.SessionLease(s.ID()))))
	})
}

func TestSessionIsFencedTwoThirdsAfterItsLastRenewal(t *testing.T) {
	for name, fault := range map[string]func(context.Context, string, func() error) error{
		"refused":                   unreachable,
		"silent":                    silent,
		"deaf to deadlines":         func(context.Context, string, func() error) error { time.Sleep(90 * time.Second); return nil },
		"stored but never answered": nil, // set below: conflicts must not count either
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newMemory().link()
				s := open(t, c, Options{})
				time.Sleep(16 * time.Second) // the last good renewal was sent after 15 s
				if fault == nil {
					fault = func(ctx context.Context, request string, do func() error) error {
						if strings.HasPrefix(request, "update") {
							_ = do()
						}
						return silent(ctx, request, nil)
					}
				}
				c.set(fault)
				assert.Equal(t, 9*time.Second, endsAfter(t, s))
				assert.ErrorIs(t, context.Cause(s.Context()), ErrFenced)
				c.set(nil)
				time.Sleep(time.Minute)
				_, err := s.AcquireAll(t.Context(), []string{"v"})
				assert.ErrorIs(t, err, ErrFenced, "the end of a session is final")
			})
		})
	}
}

func TestValidityCountsFromWhenARenewalWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().link()
		s := open(t, c, Options{})
		c.set(func(_ context.Context, _ string, do func() error) error {
			err := do()
			time.Sleep(3 * time.Second) // stored at once, answered late but in time
			return err
		})
		time.Sleep(9 * time.Second)
		c.set(unreachable) // the one good renewal was sent after 5 s and answered after 8
		assert.Equal(t, 6*time.Second, endsAfter(t, s))
	})
}

func TestSessionOutlivesAShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().link()
		s := open(t, c, Options{})
		for range 20 {
			c.set(unreachable)
			time.Sleep(4 * time.Second)
			c.set(nil)
			time.Sleep(3 * time.Second)
		}
		assert.NoError(t, s.Context().Err())
	})
}

func TestRenewalWithoutAnAnswerIsRecognised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		c.set(unanswered("update session"))
		time.Sleep(6 * time.Second)
		c.set(nil)
		time.Sleep(5 * time.Minute)
		assert.NoError(t, s.Context().Err(), "its own stored renewal must not fence a session")

		// Even when it happens to every second one.
		n := 0
		c.set(func(ctx context.Context, request string, do func() error) error {
			if strings.HasPrefix(request, "get") {
				return do()
			}
			if n++; n%2 == 0 {
				return do()
			}
			return unanswered("update")(ctx, request, do)
		})
		time.Sleep(5 * time.Minute)
		assert.NoError(t, s.Context().Err())
	})
}

func TestAnswerThatComesTooLateRevivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().link()
		s := open(t, c, Options{})
		c.set(func(_ context.Context, _ string, do func() error) error {
			err := do() // stored at once, answered when the session is over, deadline or not
			time.Sleep(8 * time.Second)
			return err
		})
		assert.Equal(t, 10*time.Second, endsAfter(t, s))
		c.set(nil)
		time.Sleep(time.Minute)
		assert.ErrorIs(t, context.Cause(s.Context()), ErrFenced)
	})
}

func TestSessionLeaseInForeignHandsEndsTheSession(t *testing.T) {
	for name, how := range map[string]func(*coordinationv1.Lease){
		"deleted":        nil,
		"label added":    func(l *coordinationv1.Lease) { l.Labels["x"] = "y" },
		"holder changed": func(l *coordinationv1.Lease) { *l.Spec.HolderIdentity = "mallory" },
		"made anew":      func(l *coordinationv1.Lease) { l.UID = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				s := open(t, m.link(), Options{})
				time.Sleep(6 * time.Second)
				m.change(names.SessionLease(s.ID()), how)
				assert.Equal(t, 4*time.Second, endsAfter(t, s), "at the next beat")
				assert.ErrorIs(t, context.Cause(s.Context()), ErrFenced)
				time.Sleep(time.Minute)
				if how == nil {
					assert.Nil(t, m.lease(names.SessionLease(s.ID())), "it must not be made again under the same ID")
				}
			})
		})
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		require.NoError(t, s.Close(t.Context()))
		assert.ErrorIs(t, context.Cause(s.Context()), ErrClosed)
		assert.Nil(t, m.lease(names.SessionLease(s.ID())))
		require.NoError(t, s.Close(t.Context()), "closing twice is harmless")

		// What a fenced session had under way is protected by its Lease.
		s = open(t, c, Options{})
		c.set(unreachable)
		endsAfter(t, s)
		c.set(nil)
		require.NoError(t, s.Close(t.Context()))
		assert.ErrorIs(t, context.Cause(s.Context()), ErrFenced, "the first cause stands")
		assert.NotNil(t, m.lease(names.SessionLease(s.ID())))

		// An unreachable server is an error, and closing can be tried again.
		s = open(t, c, Options{})
		c.set(unreachable)
		assert.Error(t, s.Close(t.Context()))
		c.set(nil)
		require.NoError(t, s.Close(t.Context()))
		assert.Nil(t, m.lease(names.SessionLease(s.ID())))

		// What somebody else made in its place is not deleted.
		s = open(t, c, Options{})
		m.change(names.SessionLease(s.ID()), func(l *coordinationv1.Lease) { l.UID = "another" })
		require.NoError(t, s.Close(t.Context()))
		assert.NotNil(t, m.lease(names.SessionLease(s.ID())))
	})
}

func TestCloseMeetsARenewalOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.link()
		s := open(t, c, Options{})
		c.set(func(ctx context.Context, request string, do func() error) error {
			if strings.HasPrefix(request, "update") {
				<-ctx.Done()
				time.Sleep(time.Second) // still on its way
			}
			return do()
		})
		time.Sleep(6 * time.Second)
		require.NoError(t, s.Close(t.Context()))
		time.Sleep(time.Minute)
		assert.Nil(t, m.lease(names.SessionLease(s.ID())))
	})
}

func TestCloseDoesNotWaitForARequestThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().link()
		s := open(t, c, Options{})
		c.set(func(context.Context, string, func() error) error {
			time.Sleep(30 * time.Second)
			return nil
		})
		time.Sleep(6 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, s.Close(ctx), context.DeadlineExceeded)
	})
}
