package harness

import (
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Moment is when, at a write, a process is interrupted.
type Moment string

// The two moments: the server never hears of the write, or it has done it and the process never hears of that.
const (
	BeforeWrite Moment = "before"
	AfterWrite  Moment = "after"
)

// Request is one request of a process to the API server.
type Request struct {
	Method, Path string
	Watch        bool
	Status       int  // of the answer; 0 for one that was not forwarded or is not answered yet
	Interrupted  bool // the process was interrupted here
}

// Write says whether the request changes something.
func (r Request) Write() bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return true
	}
	return false
}

// Proxy stands between one process and the API server. It records every request, can interrupt the process at its k-th
// write, which is how a crash at every step is tested without a line for it in the product, and can cut the process off.
type Proxy struct {
	server    *httptest.Server
	forward   *httputil.ReverseProxy
	transport *http.Transport

	// interruptions counts them. A request that waited while the process was interrupted is dropped, not forwarded:
	// it comes from a process that is no more.
	interruptions atomic.Int64
	waiting       atomic.Int64 // requests that want the lock

	mu       sync.Mutex
	requests []*Request
	cut      bool
	plan     *interruption
}

type interruption struct {
	at     int // which matching write, from 1
	moment Moment
	match  func(Request) bool
	do     func()
	seen   int
	fired  chan struct{}
}

// NewProxy starts a proxy to the API server of the configuration, of which only the address and its certificate
// are used. It ends with the test.
func NewProxy(t testing.TB, config *rest.Config) *Proxy {
	t.Helper()
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig, err := rest.TLSConfigFor(&rest.Config{Host: config.Host, TLSClientConfig: rest.TLSClientConfig{
		CAData: config.CAData, CAFile: config.CAFile,
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{transport: newTransport(tlsConfig)}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     p.transport,
		FlushInterval: -1, // watches are streams
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // the client sees a broken connection, as without a proxy
		},
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.EnableHTTP2 = true
	p.server.StartTLS()
	t.Cleanup(func() {
		p.server.CloseClientConnections() // Close alone waits for watches
		p.transport.CloseIdleConnections()
		p.server.Close()
	})
	return p
}

func newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16}
}

// Kubeconfig writes a copy of a kubeconfig that goes through the proxy. The copy must hold its identity as a token:
// a client certificate cannot be passed on.
func (p *Proxy) Kubeconfig(t testing.TB, original string) string {
	t.Helper()
	c, err := clientcmd.LoadFromFile(original)
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range c.Clusters {
		cluster.Server = p.server.URL
		cluster.CertificateAuthority = ""
		cluster.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// InterruptAt calls do at the k-th write, counted from this call and from 1, for which match says yes (nil: every
// write; SkipLeases leaves out what comes by the clock). The write gets no answer; do has returned before any other
// request goes on. The channel is closed after do. One plan replaces another.
func (p *Proxy) InterruptAt(k int, moment Moment, match func(Request) bool, do func()) <-chan struct{} {
	plan := &interruption{at: k, moment: moment, match: match, do: do, fired: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = plan
	return plan.fired
}

// KillAt kills the program (SIGKILL) at its k-th write. See InterruptAt.
func (p *Proxy) KillAt(t testing.TB, k int, moment Moment, match func(Request) bool, program func() *Program) <-chan struct{} {
	t.Helper()
	return p.InterruptAt(k, moment, match, func() {
		victim := program()
		_ = victim.cmd.Process.Kill() // an error means that it has ended
		<-victim.Done()
	})
}

// SkipLeases matches every write but those to Leases, which come by the clock and would make k mean another step in
// every run.
func SkipLeases(r Request) bool { return !strings.Contains(r.Path, "/coordination.k8s.io/") }

// Cut breaks all connections and refuses new requests, or lets them through again.
func (p *Proxy) Cut(cut bool) {
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
	if cut {
		p.server.CloseClientConnections()
	}
}

// Requests are all requests so far, in order.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Request, len(p.requests))
	for i, r := range p.requests {
		all[i] = *r
	}
	return all
}

// Writes are the requests so far that changed something, or would have.
func (p *Proxy) Writes() []Request {
	return slices.DeleteFunc(p.Requests(), func(r Request) bool { return !r.Write() })
}

// Reset forgets the requests so far.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	record := &Request{Method: r.Method, Path: r.URL.Path, Watch: r.URL.Query().Get("watch") == "true" || r.URL.Query().Get("watch") == "1"}
	plan, ok := p.admit(record)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	if plan == nil {
		p.forward.ServeHTTP(&statusWriter{ResponseWriter: w, seen: func(status int) { p.answered(record, status) }}, r)
		return
	}
	// The lock that admit left held keeps every other request out until the process is interrupted.
	defer p.mu.Unlock()
	if plan.moment == AfterWrite {
		answer := httptest.NewRecorder()
		p.forward.ServeHTTP(answer, r)
		record.Status = answer.Code
	}
	plan.do()
	p.interruptions.Add(1)
	close(plan.fired)
	panic(http.ErrAbortHandler)
}

// admit records a request. It returns a plan, with the lock held, if the process is to be interrupted here, and false
// if the process is cut off.
func (p *Proxy) admit(r *Request) (*interruption, bool) {
	before := p.interruptions.Load()
	p.waiting.Add(1)
	p.mu.Lock()
	p.waiting.Add(-1)
	if p.cut || p.interruptions.Load() != before {
		p.mu.Unlock()
		return nil, false
	}
	p.requests = append(p.requests, r)
	plan := p.plan
	if plan == nil || !r.Write() || (plan.match != nil && !plan.match(*r)) {
		p.mu.Unlock()
		return nil, true
	}
	if plan.seen++; plan.seen < plan.at {
		p.mu.Unlock()
		return nil, true
	}
	p.plan = nil
	r.Interrupted = true
	return plan, true
}

func (p *Proxy) answered(r *Request, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.Status = status
}

// statusWriter tells the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	seen func(int)
	told bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.told && status >= http.StatusOK {
		w.told = true
		w.seen(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(data []byte) (int, error) {
	if !w.told {
		w.told = true
		w.seen(http.StatusOK)
	}
	return w.ResponseWriter.Write(data)
}

// Unwrap lets the reverse proxy flush streams.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
