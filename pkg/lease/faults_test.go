package lease_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
)

func TestLeasesAsStored(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	node := strings.Repeat(strings.Repeat("n", 62)+".", 4)[:253-1] + "x" // the longest there can be
	s, _ := b.open(lease.Options{Node: node})
	l := b.lease(names.SessionLease(s.ID()))
	require.NotNil(t, l)
	assert.Equal(t, lease.KindSession, l.Labels[v1alpha1.LabelLease])
	assert.Equal(t, node, l.Annotations[lease.AnnotationNode])
	assert.EqualValues(t, 15, *l.Spec.LeaseDurationSeconds)

	h := b.acquire(s, "pvc-1")
	l = b.lease(names.VolumeLease("pvc-1"))
	assert.Equal(t, lease.KindVolume, l.Labels[v1alpha1.LabelLease])
	assert.Equal(t, "pvc-1", l.Annotations[lease.AnnotationVolume])
	holder, epoch := b.volume("pvc-1")
	assert.Equal(t, s.ID(), holder)
	assert.EqualValues(t, 1, epoch)
	require.NoError(t, h.Release(b.ctx))
	holder, epoch = b.volume("pvc-1")
	assert.Empty(t, holder)
	assert.EqualValues(t, 1, epoch)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, err := lease.Open(b.ctx, b.c, lease.Options{Namespace: "no-such-namespace", Node: "n"})
	assert.ErrorContains(t, err, "no-such-namespace")
	_, err = lease.Open(b.ctx, b.c, lease.Options{Namespace: b.namespace, Node: "Not A Node"})
	assert.ErrorContains(t, err, "Not A Node")
}

// Nobody waits for a duration where the holder says goodbye: the durations are
// longer than the test's patience.
func TestHandOverWithoutSilence(t *testing.T) {
	t.Parallel()
	for name, giveUp := range map[string]func(context.Context, *lease.Session, *lease.Held) error{
		"released": func(ctx context.Context, _ *lease.Session, h *lease.Held) error { return h.Release(ctx) },
		"closed":   func(ctx context.Context, s *lease.Session, _ *lease.Held) error { return s.Close(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			waiting := make(chan string, 1)
			from, _ := b.open(lease.Options{Node: "from", Duration: lease.MaxDuration})
			to, _ := b.open(lease.Options{Node: "to", Duration: lease.MaxDuration, OnWait: func(volume, holder string) {
				waiting <- volume + " " + holder
			}})
			h := b.acquire(from, "a", "b")
			go func() {
				assert.Equal(t, "b "+from.ID(), <-waiting)
				assert.NoError(t, giveUp(b.ctx, from, h))
			}()
			got := b.acquire(to, "b", "c")
			assert.Equal(t, map[string]int64{"b": 2, "c": 1}, got.Epochs())
			assert.NoError(t, got.Check(b.ctx))
		})
	}
}

func TestTakeoverFromASessionThatFellSilent(t *testing.T) {
	t.Parallel()
	for name, fell := range map[string]fault{
		"refused": func(*http.Request, http.RoundTripper) (*http.Response, error) {
			return nil, errors.New("connection refused")
		},
		"hanging": func(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			gone, w, h := b.hold("gone", "v")
			w.set(fell)
			next, _, got := b.hold("next", "v")
			assert.Greater(t, got.Epochs()["v"], h.Epochs()["v"])
			// By the time that another holds it, the former holder knows:
			// first by the clock, then by its context.
			assert.ErrorIs(t, h.Check(b.ctx), lease.ErrFenced)
			assert.ErrorIs(t, b.over(gone), lease.ErrFenced)
			_, err := gone.AcquireAll(b.ctx, []string{"v"})
			assert.ErrorIs(t, err, lease.ErrFenced)

			w.set(nil)
			require.NoError(t, h.Release(b.ctx))
			require.NoError(t, gone.Close(b.ctx))
			b.holds(next, got, "v") // the late release took nothing away
		})
	}
}

func TestBeatingSessionIsNeverTakenFrom(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	// Long against the hiccups of a busy machine, shorter than the wait.
	holder, _ := b.open(lease.Options{Node: "holder", Duration: 8 * time.Second})
	h := b.acquire(holder, "v")
	other, _ := b.open(lease.Options{Node: "other", Duration: 8 * time.Second})
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	_, err := other.AcquireAll(ctx, []string{"v"})
	assert.Error(t, err)
	assert.NoError(t, h.Check(b.ctx))
	assert.Equal(t, map[string]int64{"v": 1}, h.Epochs())
}

func TestSessionLeaseDeletedByAThirdParty(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, _, h := b.hold("first", "v")
	require.NoError(t, b.c.Delete(b.ctx, b.lease(names.SessionLease(s.ID()))))
	assert.ErrorIs(t, b.over(s), lease.ErrFenced)
	assert.ErrorIs(t, h.Check(b.ctx), lease.ErrFenced)
	next, _, got := b.hold("next", "v")
	b.holds(next, got, "v")
	assert.Nil(t, b.lease(names.SessionLease(s.ID())), "it was not made again")
}

func TestSessionLeaseChangedByAThirdParty(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, _ := b.open(lease.Options{Duration: short})
	b.eventually(func() bool {
		l := b.lease(names.SessionLease(s.ID()))
		*l.Spec.LeaseDurationSeconds = 1000
		return b.c.Update(b.ctx, l) == nil // a beat may come between
	}, "the lease is changed")
	assert.ErrorIs(t, b.over(s), lease.ErrFenced)
}

// unanswered passes requests of a method on volume leases through and then
// fails them as reply says.
func unanswered(method string, calls *atomic.Int32, reply func(*http.Request) (*http.Response, error)) fault {
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method != method || !strings.Contains(r.URL.Path+" ", "/leases") || strings.Contains(r.URL.Path, "/session-") {
			return next.RoundTrip(r)
		}
		if calls.Add(1) > 1 {
			return next.RoundTrip(r)
		}
		answer, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		return reply(r)
	}
}

func TestStoredWritesWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]func(*http.Request) (*http.Response, error){
		"connection lost": func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		// client-go repeats this by itself, and meets its own first write.
		"server timed out": func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: http.StatusInternalServerError, Request: r, Body: http.NoBody,
				Header: http.Header{"Retry-After": {"1"}},
			}, nil
		},
		"deadline": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			s, w := b.open(lease.Options{Duration: time.Minute})
			stored := func(wantHolder string, wantEpoch int64) {
				t.Helper()
				holder, epoch := b.volume("v")
				assert.Equal(t, wantHolder, holder)
				assert.Equal(t, wantEpoch, epoch)
			}
			var calls atomic.Int32
			fail := func(method string) {
				calls.Store(0)
				w.set(unanswered(method, &calls, reply))
			}
			if name == "deadline" { // a third of the duration each: keep it short
				s, w = b.open(lease.Options{Node: "hasty", Duration: 6 * time.Second})
			}
			fail(http.MethodPost)
			h := b.acquire(s, "v")
			require.Positive(t, calls.Load())
			assert.Equal(t, map[string]int64{"v": 1}, h.Epochs())
			stored(s.ID(), 1)
			require.NoError(t, h.Check(b.ctx))

			fail(http.MethodPut)
			require.NoError(t, h.Release(b.ctx))
			require.Positive(t, calls.Load())
			stored("", 1)

			fail(http.MethodPut)
			h = b.acquire(s, "v")
			require.Positive(t, calls.Load())
			assert.Equal(t, map[string]int64{"v": 2}, h.Epochs())
			stored(s.ID(), 2)
			require.NoError(t, h.Check(b.ctx))
			w.set(nil)
		})
	}
}

func TestSecondWriterCausesConflictsOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, w := b.open(lease.Options{Duration: time.Minute})
	b.acquire(s, "v")
	// Whatever is put, somebody was there before, three times in a row.
	var left atomic.Int32
	w.set(func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, names.VolumeLease("v")) && left.Add(-1) >= 0 {
			l := b.lease(names.VolumeLease("v"))
			if l.Labels["writer"] += "x"; !assert.NoError(t, b.c.Update(b.ctx, l)) {
				return nil, errors.New("the second writer failed")
			}
		}
		return next.RoundTrip(r)
	})
	left.Store(3)
	h := b.acquire(s, "v")
	assert.Equal(t, map[string]int64{"v": 2}, h.Epochs(), "one acquisition, one epoch")
	left.Store(3)
	require.NoError(t, h.Release(b.ctx))
	holder, epoch := b.volume("v")
	assert.Empty(t, holder)
	assert.EqualValues(t, 2, epoch)
	assert.Equal(t, "xxxxxx", b.lease(names.VolumeLease("v")).Labels["writer"], "and nothing of theirs overwritten")
}

func TestVolumeLeaseDeletedByAThirdParty(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, _ := b.open(lease.Options{Duration: time.Minute})
	h := b.acquire(s, "v")
	require.NoError(t, b.c.Delete(b.ctx, b.lease(names.VolumeLease("v"))))
	b.eventually(func() bool { return errors.Is(h.Check(b.ctx), lease.ErrLost) }, "the lease to be known as lost")
	require.NoError(t, h.Release(b.ctx))
	assert.Nil(t, b.lease(names.VolumeLease("v")), "a release does not make it again")
}
