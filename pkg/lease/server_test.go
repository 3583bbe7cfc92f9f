package lease_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// The tests of this package run against a real API server. They assert order
// and exclusion, not how long things take: patience is only how long a test
// waits before it gives up.
const patience = 15 * time.Minute

// short is a duration for tests that wait for silence. It is published as one
// second.
const short = time.Second

func TestMain(m *testing.M) {
	if os.Getenv(frozenChild) != "" {
		os.Exit(runFrozenChild())
	}
	os.Exit(m.Run())
}

// wire is one process's connection to the API server, which can be cut.
type wire struct {
	mu    sync.Mutex
	fault fault
}

type fault func(r *http.Request, next http.RoundTripper) (*http.Response, error)

func (w *wire) set(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

// cut lets nothing through.
func (w *wire) cut() {
	w.set(func(*http.Request, http.RoundTripper) (*http.Response, error) {
		return nil, errors.New("network is unreachable")
	})
}

func (w *wire) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		w.mu.Lock()
		f := w.fault
		w.mu.Unlock()
		if f == nil {
			return next.RoundTrip(r)
		}
		return f(r, next)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// connect makes an uncached client of its own.
func connect(t testing.TB, config *rest.Config) (client.Client, *wire) {
	t.Helper()
	w := &wire{}
	config = rest.CopyConfig(config)
	config.Wrap(w.wrap)
	c, err := newClient(config)
	require.NoError(t, err)
	return c, w
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := coordinationv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	// The one kind is known, so that no discovery mixes with the requests.
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	return client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
}

// bench is a namespace of its own with a client that no fault touches.
type bench struct {
	t         testing.TB
	ctx       context.Context
	config    *rest.Config
	namespace string
	c         client.Client
}

func newBench(t testing.TB) *bench {
	t.Helper()
	config := harness.APIServer(t)
	c, _ := connect(t, config)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &bench{t: t, ctx: ctx, config: config, namespace: harness.Namespace(t, config), c: c}
}

// open makes a session with a wire of its own.
func (b *bench) open(o lease.Options) (*lease.Session, *wire) {
	b.t.Helper()
	c, w := connect(b.t, b.config)
	o.Namespace = b.namespace
	if o.Node == "" {
		o.Node = "node-1"
	}
	s, err := lease.Open(b.ctx, c, o)
	require.NoError(b.t, err)
	b.t.Cleanup(func() {
		w.set(nil)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Close(ctx)
	})
	return s, w
}

func (b *bench) acquire(s *lease.Session, volumes ...string) *lease.Held {
	b.t.Helper()
	h, err := s.AcquireAll(b.ctx, volumes)
	require.NoError(b.t, err)
	return h
}

// hold opens a session of the duration short and takes a volume. A machine
// that stands still for longer than that ends sessions rightly: then it is
// tried again with another.
func (b *bench) hold(node, volume string) (*lease.Session, *wire, *lease.Held) {
	b.t.Helper()
	for {
		s, w := b.open(lease.Options{Node: node, Duration: short})
		h, err := s.AcquireAll(b.ctx, []string{volume})
		if err == nil {
			return s, w, h
		}
		require.ErrorIs(b.t, err, lease.ErrFenced)
	}
}

// holds asserts that a session is the volume's holder in the epoch that it
// believes in. It may be over, but it must not have lost the volume.
func (b *bench) holds(s *lease.Session, h *lease.Held, volume string) {
	b.t.Helper()
	holder, epoch := b.volume(volume)
	require.Equal(b.t, s.ID(), holder)
	require.Equal(b.t, h.Epochs()[volume], epoch)
	if err := h.Check(b.ctx); err != nil {
		require.ErrorIs(b.t, err, lease.ErrFenced)
	}
}

// lease as stored; nil when there is none.
func (b *bench) lease(name string) *coordinationv1.Lease {
	b.t.Helper()
	l, err := b.read(b.ctx, name)
	require.NoError(b.t, err)
	return l
}

func (b *bench) read(ctx context.Context, name string) (*coordinationv1.Lease, error) {
	var l coordinationv1.Lease
	err := b.c.Get(ctx, client.ObjectKey{Namespace: b.namespace, Name: name}, &l)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &l, nil
}

func (b *bench) volume(name string) (holder string, epoch int64) {
	b.t.Helper()
	l := b.lease(names.VolumeLease(name))
	require.NotNil(b.t, l)
	return *l.Spec.HolderIdentity, int64(*l.Spec.LeaseTransitions)
}

// eventually polls until done or patience runs out.
func (b *bench) eventually(done func() bool, what string) {
	b.t.Helper()
	require.Eventually(b.t, done, patience, 20*time.Millisecond, what)
}

// over waits for a session's end and returns why it ended.
func (b *bench) over(s *lease.Session) error {
	b.t.Helper()
	select {
	case <-s.Context().Done():
	case <-b.ctx.Done():
		b.t.Fatal("the session did not end")
	}
	return context.Cause(s.Context())
}
