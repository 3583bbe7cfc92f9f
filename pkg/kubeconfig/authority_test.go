package kubeconfig

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"hayloft.dev/test/text"
)

// ca is an authority, and a certificate for 127.0.0.1 that it vouches for.
func ca(t *testing.T, name string) (authority []byte, served *tls.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	}
	own := template(name)
	own.IsCA, own.BasicConstraintsValid, own.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, own, own, key.Public(), key)
	require.NoError(t, err)
	leaf := template("server")
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	certificate, err := x509.CreateCertificate(rand.Reader, leaf, own, key.Public(), key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), &tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: key}
}

// TestAuthoritiesAreExchanged: the authority of the API server changes as it does when
// that of a cluster is renewed, in a file that a kubeconfig names and in the one that
// Kubernetes mounts.
func TestAuthoritiesAreExchanged(t *testing.T) {
	for name, opened := range map[string]func(url, file string, log *slog.Logger) (*rest.Config, *Transport, error){
		"kubeconfig": func(url, file string, log *slog.Logger) (*rest.Config, *Transport, error) {
			config := filepath.Join(filepath.Dir(file), "config")
			content := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority":"ca.crt"}}],
"users":[{"name":"u","user":{"token":"t"}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}`, url)
			if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
				return nil, nil, err
			}
			return Open(config, log)
		},
		"account": func(url, file string, log *slog.Logger) (*rest.Config, *Transport, error) {
			find := func() (*rest.Config, error) {
				return &rest.Config{Host: url, BearerToken: "t", TLSClientConfig: rest.TLSClientConfig{CAFile: file}}, nil
			}
			return account(file, find, log)
		},
	} {
		t.Run(name, func(t *testing.T) {
			first, firstServed := ca(t, "first")
			second, secondServed := ca(t, "second")
			var served atomic.Pointer[tls.Certificate]
			served.Store(firstServed)
			listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return served.Load(), nil },
			})
			require.NoError(t, err)
			server := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"major":"1","minor":"34"}`)
			})}
			server.SetKeepAlivesEnabled(false)
			go func() { _ = server.Serve(listener) }()
			defer server.Close()

			file := filepath.Join(t.TempDir(), "ca.crt")
			write := func(parts ...[]byte) {
				var all []byte
				for _, p := range parts {
					all = append(all, p...)
				}
				require.NoError(t, os.WriteFile(file+".new", all, 0o600))
				require.NoError(t, os.Rename(file+".new", file))
			}
			write(first)
			log := &text.Buffer{}
			config, transport, err := opened("https://"+listener.Addr().String(), file, slog.New(slog.NewTextHandler(log, nil)))
			require.NoError(t, err)
			require.Empty(t, config.TLSClientConfig)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- transport.Start(ctx) }()
			defer func() { cancel(); require.NoError(t, <-ended) }()
			clients, err := kubernetes.NewForConfig(config)
			require.NoError(t, err)
			ask := func() error { _, err := clients.Discovery().ServerVersion(); return err }
			require.NoError(t, ask())
			served.Store(secondServed)
			require.ErrorContains(t, ask(), "certificate")
			write(first, second)
			require.Eventually(t, func() bool { return ask() == nil }, time.Minute, 10*time.Millisecond, "the other authority is trusted: %s", log)
			served.Store(firstServed)
			require.NoError(t, ask())
			write([]byte("none"))
			require.Eventually(t, func() bool { return strings.Contains(log.String(), "using its credentials") }, time.Minute, 10*time.Millisecond)
			require.NoError(t, ask())
		})
	}
	_, _, err := account("ca.crt", func() (*rest.Config, error) { return nil, rest.ErrNotInCluster }, slog.Default())
	require.ErrorIs(t, err, rest.ErrNotInCluster)
}
