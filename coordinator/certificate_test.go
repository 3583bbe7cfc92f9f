package main

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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/control"
	"hayloft.dev/pkg/reload"
)

// made is a certificate and its key, in PEM.
func made(t *testing.T, serial int64, until time.Time) (cert, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "webhook"}, NotBefore: until.Add(-24 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
}

func TestKeyPair(t *testing.T) {
	cert, key := made(t, 1, time.Now().Add(time.Hour))
	other, _ := made(t, 2, time.Now().Add(time.Hour))
	old, oldKey := made(t, 3, time.Now().Add(-time.Hour))
	pair, err := keyPair([][]byte{cert, key})
	require.NoError(t, err)
	require.EqualValues(t, 1, pair.Leaf.SerialNumber.Int64())
	for says, c := range map[string][][]byte{
		"private key does not match":  {other, key},
		"the certificate expired on":  {old, oldKey},
		"failed to find any PEM data": {[]byte("not PEM"), key},
	} {
		_, err := keyPair(c)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), strings.Split(string(key), "\n")[1], "a key in an error")
	}
}

// TestMountedCertificate serves TLS with a mounted certificate and renews that as
// Kubernetes does with a Secret.
func TestMountedCertificate(t *testing.T) {
	folder, round := t.TempDir(), 0
	swap := func(cert, key []byte) {
		round++
		fresh := filepath.Join(folder, fmt.Sprintf("..round-%d", round))
		require.NoError(t, os.Mkdir(fresh, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(fresh, "tls.crt"), cert, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(fresh, "tls.key"), key, 0o600))
		require.NoError(t, os.Symlink(filepath.Base(fresh), filepath.Join(folder, "..new")))
		require.NoError(t, os.Rename(filepath.Join(folder, "..new"), filepath.Join(folder, "..data")))
	}
	swap(made(t, 1, time.Now().Add(time.Hour)))
	for _, name := range []string{"tls.crt", "tls.key"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name)))
	}
	mounted, err := webhookFlags{certDir: folder}.mounted(control.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, mounted.ready())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- mounted.keepers["the mounted certificate"].(*reload.Value[*tls.Certificate]).Start(ctx)
	}()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()

	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: mounted.get})
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = c.(*tls.Conn).Handshake() // the client tells of what goes wrong
				_ = c.Close()
			}()
		}
	}()
	served := func() int64 {
		c, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // looks at the certificate itself
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	require.EqualValues(t, 1, served())
	swap(made(t, 2, time.Now().Add(time.Hour)))
	require.Eventually(t, func() bool { return served() == 2 }, time.Minute, 10*time.Millisecond)
	cert, _ := made(t, 3, time.Now().Add(time.Hour))
	_, key := made(t, 4, time.Now().Add(time.Hour))
	swap(cert, key) // they do not belong together
	require.EqualValues(t, 2, served())
	swap(made(t, 5, time.Now().Add(time.Hour)))
	require.Eventually(t, func() bool { return served() == 5 }, time.Minute, 10*time.Millisecond)

	_, err = webhookFlags{certDir: t.TempDir()}.mounted(control.Options{})
	require.ErrorContains(t, err, "--webhook-cert-dir: reading a mounted file")
}
