package store

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"hayloft.dev/coordinator/shares"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// served opens a share that a Pod of the test's own serves.
func served(t *testing.T, h http.HandlerFunc) *Store {
	t.Helper()
	keys, err := shares.NewKeys(time.Now(), &corev1.Pod{})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(h)
	server.TLS, err = shares.ServerTLS(keys.Data)
	require.NoError(t, err)
	server.StartTLS()
	t.Cleanup(server.Close)
	config, err := shares.ClientTLS(keys.Data)
	require.NoError(t, err)
	s, err := Open(v1alpha1.BackupTargetSpec{NFS: &v1alpha1.NFSTarget{Server: "nas", Path: "/b"}}, nil,
		Place{Remote: &Remote{Pod: "share-1", Address: strings.TrimPrefix(server.URL, "https://"), TLS: config}})
	require.NoError(t, err)
	return s
}

func requireError(t *testing.T, err error, reason protocol.Reason, says string) {
	t.Helper()
	var e *protocol.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, reason, e.Reason, "%v", err)
	require.Contains(t, e.Message, says)
}

// A share whose server does not answer is told as that, and not as a Pod's fault.
func TestRemoteThatDoesNotAnswer(t *testing.T) {
	over := make(chan struct{})
	s := served(t, func(_ http.ResponseWriter, r *http.Request) { <-over })
	t.Cleanup(sync.OnceFunc(func() { close(over) }))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := s.List(ctx, "backupstore")
	requireError(t, err, protocol.Timeout, "nas:/b: Pod share-1 got no answer from the share in the time allowed (list backupstore)")
}

// What is cut off is never taken for a whole: a listing that lacks its end would
// forget points, and a document its own.
func TestRemoteThatIsCutOff(t *testing.T) {
	s := served(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case wireWalk:
			_, _ = io.WriteString(w, `{"path":"a","size":1,"version":"1"}`+"\n") // and no end
		case wireRead:
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case wireList:
			_, _ = io.WriteString(w, `{"names":["a",`)
		case wireStat:
			w.WriteHeader(http.StatusNotFound) // not one of ours
		}
	})
	err := s.Walk(t.Context(), "d", func(File) error { return nil })
	requireError(t, err, protocol.Unreachable, "walk d")
	_, err = s.Read(t.Context(), "f", 100)
	require.Error(t, err)
	_, err = s.List(t.Context(), "d")
	requireError(t, err, protocol.Unreachable, "list d")
	_, err = s.Size(t.Context(), "f")
	requireError(t, err, protocol.Internal, "without a cause")
	require.NotErrorIs(t, err, ErrMissing)
}

// What the other side takes of the CPU is told, added up and limited.
func TestRemoteCPU(t *testing.T) {
	limits := make(chan string, 10)
	s := served(t, func(w http.ResponseWriter, r *http.Request) {
		limits <- r.Header.Get(headerLimit)
		w.Header().Set(headerCPU, "40")
		_, _ = io.WriteString(w, `{"names":[]}`)
	})
	s.remoteLimit.Store(5000)
	for range 3 {
		_, err := s.List(t.Context(), "d")
		require.NoError(t, err)
		require.Equal(t, "5000", <-limits)
	}
	require.Equal(t, 120*time.Millisecond, s.RemoteCPU())
	require.EqualValues(t, 3, s.Requests())
}
