package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(2, 3)
		for range 3 {
			require.Zero(t, l.take("a"))
		}
		require.Equal(t, 500*time.Millisecond, l.take("a"))
		require.Equal(t, 500*time.Millisecond, l.take("a"), "a request that is refused uses nothing up")
		require.Zero(t, l.take("b"), "another caller")
		time.Sleep(500 * time.Millisecond)
		require.Zero(t, l.take("a"))
		require.NotZero(t, l.take("a"))
	})
}

// TestBounds: a cluster that does not answer costs a request its time, and as many as
// may be worked on at once their place. All are told to come again.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t, &strings.Builder{}, nil)
		o.Limits.Rate, o.Limits.Burst = 1000, 1000
		o.Client = interceptor.NewClient(o.Client, interceptor.Funcs{
			List: func(ctx context.Context, _ client.WithWatch, _ client.ObjectList, _ ...client.ListOption) error {
				<-ctx.Done()
				return ctx.Err()
			},
		})
		h, err := New(o)
		require.NoError(t, err)
		ask := func() *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, Prefix+"/targets", nil)
			r.TLS = certified("bob")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		began, answers := time.Now(), make(chan *httptest.ResponseRecorder, atOnce)
		for range atOnce {
			go func() { answers <- ask() }()
		}
		synctest.Wait()
		later := func(w *httptest.ResponseRecorder, says string) {
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.NotEmpty(t, w.Header().Get("Retry-After"))
			require.Contains(t, w.Body.String(), says)
		}
		later(ask(), "256 requests are being worked on already")
		for range atOnce {
			later(<-answers, "did not answer in time")
		}
		require.Equal(t, requestTimeout, time.Since(began))
	})
}

func TestStreams(t *testing.T) {
	s := newStreams(3, 2)
	done, ok := s.open("a")
	require.True(t, ok)
	_, ok = s.open("a")
	require.True(t, ok)
	_, ok = s.open("a")
	require.False(t, ok, "a has as many as one may")
	_, ok = s.open("b")
	require.True(t, ok)
	_, ok = s.open("c")
	require.False(t, ok, "there are as many as all may have")
	done()
	_, ok = s.open("c")
	require.True(t, ok)
}

func TestKeyName(t *testing.T) {
	require.Equal(t, keyName("u", "k"), keyName("u", "k"))
	for _, other := range []string{keyName("u", "l"), keyName("v", "k"), keyName("uk", "")} {
		require.NotEqual(t, keyName("u", "k"), other)
	}
	require.Regexp(t, `^api-[a-z2-7]{32}$`, keyName("system:serviceaccount:ci:backup", "nightly"))
}

func TestFreshName(t *testing.T) {
	at := time.Date(2026, 11, 26, 4, 5, 6, 0, time.FixedZone("", 3600))
	require.Regexp(t, `^web-20261126-030506-[a-z0-9]{4}$`, freshName("web", at))
	long := freshName("a123456789012345678901234567890123456789-bcdefghijklmnopqrstuvwx", at)
	require.LessOrEqual(t, len(long), 63)
	require.NotEqual(t, freshName("web", at), freshName("web", at))
}

func TestDigest(t *testing.T) {
	of := func(operation string, body any) string {
		d, err := digest(operation, body)
		require.NoError(t, err)
		return d
	}
	one := BackupRequest{PointRequest: PointRequest{VM: "web"}, Target: "s3"}
	require.Equal(t, of("create-backup", one), of("create-backup", one))
	require.NotEqual(t, of("create-backup", one), of("create-snapshot", one))
	one.Note = "n"
	require.NotEqual(t, of("create-backup", BackupRequest{PointRequest: PointRequest{VM: "web"}, Target: "s3"}), of("create-backup", one))
}
