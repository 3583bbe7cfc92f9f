package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// TestReach: a coordinator begins when the API server answers, whatever it says, and not before.
func TestReach(t *testing.T) {
	for name, status := range map[string]int{"well": http.StatusOK, "forbidden": http.StatusForbidden, "unwell": http.StatusInternalServerError} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if asked++; asked == 1 {
					panic(http.ErrAbortHandler) // hangs up
				}
				w.WriteHeader(status)
			}))
			defer server.Close()
			require.NoError(t, reach(t.Context(), &rest.Config{Host: server.URL}, slog.New(slog.DiscardHandler)))
			require.Equal(t, 2, asked)
		})
	}
	t.Run("ended meanwhile", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		nobody := listener.Addr().String()
		require.NoError(t, listener.Close())
		ctx, cancel := context.WithCancel(t.Context())
		log := slog.New(slog.NewTextHandler(writer(cancel), nil)) // ended when it says that it tries again
		require.ErrorContains(t, reach(ctx, &rest.Config{Host: "http://" + nobody}, log), "reaching the API server")
	})
}

// writer is called for what is written.
type writer func()

func (w writer) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}
