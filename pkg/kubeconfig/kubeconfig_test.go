package kubeconfig

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"

	"hayloft.dev/test/text"
)

// server notes with which token each request came.
func server(t *testing.T) (url string, tokens func() []string) {
	var mu sync.Mutex
	var seen []string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"major":"1","minor":"34"}`)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), seen...)
	}
}

func content(server, user string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c",
"clusters":[{"name":"c","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],"users":[{"name":"u","user":%s}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}`, server, user)
}

// TestCredentialsAreExchanged: a client goes on with what the file says now, and
// a file that is no good changes nothing.
func TestCredentialsAreExchanged(t *testing.T) {
	url, tokens := server(t)
	other, elsewhere := server(t)
	file := filepath.Join(t.TempDir(), "config")
	write := func(s string) {
		require.NoError(t, os.WriteFile(file+".new", []byte(s), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	write(content(url, `{"token":"first-secret"}`))
	log := &text.Buffer{}
	config, transport, err := Open(file, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	require.Empty(t, config.BearerToken)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- transport.Start(ctx) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()

	clients, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	ask := func() string {
		_, err := clients.Discovery().ServerVersion()
		require.NoError(t, err)
		all := tokens()
		return all[len(all)-1]
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
			require.True(t, time.Now().Before(deadline), "not within a minute: %s\n%s", what, log)
		}
	}
	require.Equal(t, "first-secret", ask())
	write(content(url, `{"token":"second-secret"}`))
	until("the second token is used", func() bool { return ask() == "second-secret" })

	write(content(other, `{"token":"third-secret"}`))
	until("another server is refused", func() bool { return strings.Contains(log.String(), "it names server "+other) })
	require.Equal(t, "second-secret", ask())
	write("token: fourth-secret: {")
	until("what is none is refused", func() bool { return strings.Contains(log.String(), "it is not a kubeconfig") })
	write(content(url, `{"client-certificate-data":"AAAA","client-key-data":"BBBB"}`))
	until("a certificate that is none is refused", func() bool { return strings.Contains(log.String(), "using its credentials") })
	require.Equal(t, "second-secret", ask())

	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), "token"), []byte("fifth-secret"), 0o600))
	write(content(url, `{"tokenFile":"token"}`))
	until("a token beside the file is used", func() bool { return ask() == "fifth-secret" })
	require.Empty(t, elsewhere())
	require.NotContains(t, log.String(), "-secret")
}

func TestOpenRefuses(t *testing.T) {
	_, _, err := Open(filepath.Join(t.TempDir(), "none"), slog.Default())
	require.ErrorContains(t, err, "no such file")
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"x"}`), 0o600))
	_, _, err = Open(file, slog.Default())
	require.ErrorContains(t, err, file)
}
