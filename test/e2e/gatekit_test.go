package e2e

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// gate stands between engines and the S3 server, as the endpoint of a
// BackupTarget of its own, and stops chosen requests. Everything passes at first.
type gate struct {
	target string // name of the BackupTarget

	mu      sync.Mutex
	begun   map[string]bool // configurations of backups that were written once, which says that they are in progress
	written map[string]int  // path -> how often it was written
	finals  func(*http.Request) bool
	reads   func(*http.Request) bool
	writes  func(*http.Request) bool
	deletes func(*http.Request) bool
	stopped map[string]int // path -> requests that were held or refused
	refusal string         // the body of what refuses
}

// kitGate makes a gate and its BackupTarget.
func (w *world) kitGate() *gate {
	w.t.Helper()
	server, err := url.Parse(w.S3.Endpoint)
	require.NoError(w.t, err)
	g := &gate{begun: map[string]bool{}, written: map[string]int{}, stopped: map[string]int{}, refusal: "refused"}
	forward := httputil.NewSingleHostReverseProxy(server)
	forward.ModifyResponse = g.answered
	forward.ErrorLog = log.New(io.Discard, "", 0) // whoever is killed drops his requests
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if g.passes(r) {
			forward.ServeHTTP(rw, r)
			return
		}
		http.Error(rw, g.refusal, http.StatusForbidden)
	}))
	w.t.Cleanup(func() {
		g.open()
		proxy.CloseClientConnections()
		proxy.Close()
	})

	var stacks v1alpha1.BackupTarget
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Name: w.Target}, &stacks))
	own := &v1alpha1.BackupTarget{Spec: *stacks.Spec.DeepCopy()}
	own.Name = "gate-" + w.ns
	own.Spec.S3.Endpoint = proxy.URL
	require.NoError(w.t, w.c.Create(w.ctx, own))
	g.target = own.Name
	return g
}

// passes lets a request through, perhaps after a while.
func (g *gate) passes(r *http.Request) bool {
	g.mu.Lock()
	var rule func(*http.Request) bool
	switch {
	case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/backups/backup_"):
		if g.begun[r.URL.Path] {
			rule = g.finals
		}
		g.begun[r.URL.Path] = true
	case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".blk"):
		rule = g.writes
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".blk"):
		rule = g.reads
	case r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, ".blk"):
		rule = g.deletes
	}
	g.mu.Unlock()
	return rule == nil || rule(r)
}

// answered counts what the server has written.
func (g *gate) answered(r *http.Response) error {
	if r.Request.Method == http.MethodPut && r.StatusCode == http.StatusOK {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.written[r.Request.URL.Path]++
	}
	return nil
}

// open lets everything pass from now on.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finals, g.reads, g.writes, g.deletes = nil, nil, nil, nil
}

// refuseFinals refuses, until the gate is opened, the write that makes a backup
// whole.
func (g *gate) refuseFinals() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finals = func(r *http.Request) bool {
		g.stop(r)
		return false
	}
}

// holdFinals holds that write until release is called.
func (g *gate) holdFinals() (release func()) {
	rule, release := g.hold(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finals = rule
	return release
}

// holdReads lets a number of data blocks be read and holds the other reads
// until release is called.
func (g *gate) holdReads(after int) (release func()) {
	rule, release := g.hold(after)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads = rule
	return release
}

// holdWrites does so with writes of data blocks.
func (g *gate) holdWrites(after int) (release func()) {
	rule, release := g.hold(after)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes = rule
	return release
}

// denyWrites lets a number of data blocks be written and then denies the key the
// right to write more, as S3 does, until the gate is opened.
func (g *gate) denyWrites(after int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := after
	g.refusal = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
	g.writes = func(r *http.Request) bool {
		g.mu.Lock()
		left--
		pass := left >= 0
		g.mu.Unlock()
		if !pass {
			g.stop(r)
		}
		return pass
	}
}

// holdDeletes holds deletions of data blocks until release is called.
func (g *gate) holdDeletes() (release func()) {
	rule, release := g.hold(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deletes = rule
	return release
}

func (g *gate) hold(after int) (rule func(*http.Request) bool, release func()) {
	free, left := make(chan struct{}), after
	rule = func(r *http.Request) bool {
		g.mu.Lock()
		left--
		pass := left >= 0
		g.mu.Unlock()
		if pass {
			return true
		}
		g.stop(r)
		select {
		case <-free:
			return true
		case <-r.Context().Done(): // the one who asked has gone
			return false
		}
	}
	return rule, func() {
		g.open()
		close(free)
	}
}

func (g *gate) stop(r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped[r.URL.Path]++
}

// stops counts the requests that were held or refused, of paths that have the
// part in them.
func (g *gate) stops(part string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for path, times := range g.stopped {
		if strings.Contains(path, part) {
			n += times
		}
	}
	return n
}

// blockWrites counts the writes of a volume's data blocks, and how many of them
// were repetitions.
func (g *gate) blockWrites(volume string) (all, again int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for path, times := range g.written {
		if strings.Contains(path, "/"+volume+"/") && strings.HasSuffix(path, ".blk") {
			all += times
			again += times - 1
		}
	}
	return all, again
}
