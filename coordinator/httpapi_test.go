package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/api"
	"hayloft.dev/test/text"
)

func TestAuthorities(t *testing.T) {
	one, key := made(t, 1, time.Now().Add(time.Hour))
	two, _ := made(t, 2, time.Now().Add(time.Hour))
	_, err := authorities([][]byte{append([]byte("the people's\n"), append(one, two...)...)})
	require.NoError(t, err)
	cut := two[:len(two)/2]
	for says, content := range map[string][]byte{
		"0 of 1 certificates in it can be read": []byte("none"),
		"1 of 2 certificates in it can be read": append(append([]byte{}, one...), cut...),
		"1 of 2 certificates in it can":         append(append([]byte{}, cut...), append([]byte("\n"), one...)...),
		"block 2 is a EC PRIVATE KEY":           append(append([]byte{}, one...), key...),
		"reading certificate 1":                 []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
	} {
		_, err := authorities([][]byte{content})
		require.ErrorContains(t, err, says)
	}
	_, err = (&apiFlags{clientAuthority: filepath.Join(t.TempDir(), "none")}).clientAuthorities(slog.Default())
	require.ErrorContains(t, err, "--api-client-ca: reading a mounted file")
}

// TestClientAuthoritiesAreExchanged: who may show a certificate to the HTTP API
// changes with the mounted file, and a broken file shuts nobody out.
func TestClientAuthoritiesAreExchanged(t *testing.T) {
	folder, round := t.TempDir(), 0
	swap := func(content ...[]byte) {
		round++
		fresh := filepath.Join(folder, fmt.Sprintf("..round-%d", round))
		require.NoError(t, os.Mkdir(fresh, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(fresh, "ca.crt"), []byte(joined(content)), 0o600))
		require.NoError(t, os.Symlink(filepath.Base(fresh), filepath.Join(folder, "..new")))
		require.NoError(t, os.Rename(filepath.Join(folder, "..new"), filepath.Join(folder, "..data")))
	}
	// Each is its own authority.
	certificate := func(serial int64) (tls.Certificate, []byte) {
		cert, key := made(t, serial, time.Now().Add(time.Hour))
		pair, err := tls.X509KeyPair(cert, key)
		require.NoError(t, err)
		return pair, cert
	}
	alice, alices := certificate(1)
	bob, bobs := certificate(2)
	own, _ := certificate(3)
	swap(alices)
	require.NoError(t, os.Symlink(filepath.Join("..data", "ca.crt"), filepath.Join(folder, "ca.crt")))

	log := &text.Buffer{}
	value, err := (&apiFlags{clientAuthority: filepath.Join(folder, "ca.crt")}).clientAuthorities(slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	server := &api.Server{
		Address: address, ClientAuthorities: value.Get, Log: slog.New(slog.DiscardHandler),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &own, nil },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, c := range r.TLS.PeerCertificates {
				fmt.Fprint(w, c.SerialNumber)
			}
		}),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- value.Start(ctx) }()
	go func() { ended <- server.Start(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
	}()
	until := func(what string, ok func() bool) {
		t.Helper()
		require.Eventually(t, ok, time.Minute, 10*time.Millisecond, what)
	}
	until("it is served", func() bool { return server.Ready() == nil })

	// seen is the serial of the certificate that the server takes of a caller, "" of
	// one without, and "refused" where it takes none.
	seen := func(shown ...tls.Certificate) string {
		config := &tls.Config{InsecureSkipVerify: true, Certificates: shown} //nolint:gosec // it is about the other side
		c := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 10 * time.Second}
		r, err := c.Get("https://" + address)
		if err != nil {
			return "refused"
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return string(body)
	}
	require.Equal(t, "1", seen(alice))
	require.Equal(t, "", seen())
	require.Equal(t, "refused", seen(bob))
	swap(alices, bobs)
	until("another authority is taken up", func() bool { return seen(bob) == "2" })
	require.Equal(t, "1", seen(alice))

	swap(alices, bobs[:len(bobs)/2])
	until("a broken file is refused and said", func() bool {
		return strings.Contains(log.String(), "stays in force") && strings.Contains(log.String(), "1 of 2 certificates")
	})
	require.Equal(t, []string{"1", "2", ""}, []string{seen(alice), seen(bob), seen()})
	swap(bobs)
	until("one that is not named any more is turned away", func() bool { return seen(alice) == "refused" })
	require.Equal(t, []string{"2", ""}, []string{seen(bob), seen()})
}

func joined(parts [][]byte) (out string) {
	for _, p := range parts {
		out += string(p)
	}
	return out
}
