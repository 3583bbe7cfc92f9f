package store

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/target"
)

// connectTimeout bounds connecting and the TLS handshake, each.
const connectTimeout = 5 * time.Second

// transport sends requests to a target. It counts them, retries of an SDK among
// them, and knows how far the last one came: that tells what was waited for when
// the time is over.
type transport struct {
	requests *atomic.Int64
	next     http.RoundTripper
	phase    atomic.Value // string
}

// newTransport trusts the system's authorities and those of the target, and goes
// through the target's proxies, or through the worker's own where it names none.
func newTransport(credential map[string]string, cert, field string, requests *atomic.Int64) (*transport, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if pem := credential[cert]; pem != "" && !roots.AppendCertsFromPEM([]byte(pem)) {
		return nil, &protocol.Error{Reason: protocol.Invalid, Message: fmt.Sprintf(
			"%s, or %s of the target's Secret, holds no certificate in PEM form: correct or remove it", field, cert)}
	}
	return &transport{requests: requests, next: &http.Transport{
		Proxy:               proxy(credential),
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout: connectTimeout,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 32,
	}}, nil
}

func proxy(credential map[string]string) func(*http.Request) (*url.URL, error) {
	c := httpproxy.Config{HTTPProxy: credential[target.HTTPProxy], HTTPSProxy: credential[target.HTTPSProxy], NoProxy: credential[target.NoProxy]}
	if c.HTTPProxy == "" && c.HTTPSProxy == "" && c.NoProxy == "" {
		return http.ProxyFromEnvironment
	}
	through := c.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return through(r.URL) }
}

// RoundTrip sends one request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.requests.Add(1)
	trace := &httptrace.ClientTrace{
		DNSStart:          func(i httptrace.DNSStartInfo) { t.phase.Store("looking up the name " + i.Host) },
		ConnectStart:      func(_, address string) { t.phase.Store("connecting to " + address) },
		TLSHandshakeStart: func() { t.phase.Store("agreeing on TLS") },
		WroteRequest:      func(httptrace.WroteRequestInfo) { t.phase.Store("waiting for an answer to " + r.Method) },
	}
	return t.next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}

// during says what the last request was waiting for, for a sentence.
func (t *transport) during() string {
	if s, ok := t.phase.Load().(string); ok {
		return s
	}
	return "connecting"
}
