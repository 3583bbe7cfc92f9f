package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

// gate stands in front of the S3 server, in the control plane's network. Closed, it holds blocks that are written or read:
// a backup or a restore then is in its middle for as long as a test needs.
type gate struct {
	endpoint string
	target   string // the BackupTarget whose S3 server is behind the gate; "": none

	mu      sync.Mutex
	closed  chan struct{} // nil: open
	held    int           // blocks that wait
	refuses string        // writes to paths that have it in them are refused; "": none
	refused int           // how many were
}

// newGate makes a gate that is open.
func (k *cluster) newGate(t *testing.T) *gate {
	t.Helper()
	server, err := url.Parse(k.storage.S3.Endpoint)
	require.NoError(t, err)
	listener := k.listenControl(t)
	g := &gate{endpoint: "http://" + listener.Addr().String()}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(server); r.Out.Host = r.In.Host }, // the signature has the host
		ErrorLog:  log.New(io.Discard, "", 0),                                                  // whoever is killed drops his requests
		Transport: &http.Transport{DialContext: k.dialControl, MaxIdleConnsPerHost: 16},
	}
	proxy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && g.turnsAway(r.URL.Path) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
			return
		}
		if (r.Method == http.MethodPut || r.Method == http.MethodGet) && strings.HasSuffix(r.URL.Path, ".blk") {
			g.wait(r.Context())
		}
		forward.ServeHTTP(w, r)
	})}
	go func() { _ = proxy.Serve(listener) }() // ends with Close, below
	t.Cleanup(func() {
		g.open()
		_ = proxy.Close()
	})
	return g
}

// makeGate makes a gate and the target behind it: of a scenario, so that it holds nobody else's blocks.
func (k *cluster) makeGate(t *testing.T, scenario string) *gate {
	t.Helper()
	g, s3 := k.newGate(t), k.storage.S3
	g.target = "gate-" + scenario
	// versitygw removes a folder with the last object in it, also while somebody else writes one there: of several targets
	// that are tried at once the webhook may refuse one.
	await(t, patience, "target "+g.target, func() error {
		return k.put(t, &v1alpha1.BackupTarget{
			ObjectMeta: metav1.ObjectMeta{Name: g.target},
			Spec: v1alpha1.BackupTargetSpec{
				S3:               &v1alpha1.S3Target{Endpoint: g.endpoint, Insecure: true, Bucket: s3.Bucket, Region: s3.Region},
				CredentialSecret: secretName,
			},
		})
	})
	return g
}

// turnsAway tells whether a write is to be refused, and counts it.
func (g *gate) turnsAway(path string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	is := g.refuses != "" && strings.Contains(path, g.refuses)
	if is {
		g.refused++
	}
	return is
}

// refuse has writes refused from now on.
func (g *gate) refuse(part string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuses = part
}

// turnedAway is how many writes were refused.
func (g *gate) turnedAway() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

func (g *gate) wait(ctx context.Context) {
	g.mu.Lock()
	closed := g.closed
	if closed == nil {
		g.mu.Unlock()
		return
	}
	g.held++
	g.mu.Unlock()
	select {
	case <-closed:
	case <-ctx.Done():
	}
	g.mu.Lock()
	g.held--
	g.mu.Unlock()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

// awaitHeld waits until blocks are held.
func (g *gate) awaitHeld(t *testing.T) {
	t.Helper()
	await(t, patience, "a block to be held", func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.held == 0 {
			return fmt.Errorf("none is")
		}
		return nil
	})
}

// inControlNetwork runs f on a thread that is in the control plane's network and ends with f.
func (k *cluster) inControlNetwork(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and not given back
		namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", k.Control.PID))
		if err == nil {
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
			_ = namespace.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func (k *cluster) listenControl(t *testing.T) (listener net.Listener) {
	t.Helper()
	require.NoError(t, k.inControlNetwork(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(k.Control.IP, "0"))
		return err
	}))
	return listener
}

func (k *cluster) dialControl(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = k.inControlNetwork(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
