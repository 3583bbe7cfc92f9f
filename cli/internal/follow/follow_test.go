package follow_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/follow"
	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// line is the way to the API server, which can be cut.
type line struct {
	mu      sync.Mutex
	cut     bool
	cancels map[int]context.CancelFunc // running requests
	next    int
	watches int
}

// serve forwards requests until the line is cut.
func (l *line) serve(t *testing.T, config *rest.Config) *rest.Config {
	target, err := url.Parse(config.Host)
	require.NoError(t, err)
	transport, err := rest.TransportFor(config)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport, proxy.FlushInterval = transport, -1
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		if !l.enter(cancel, r.URL.Query().Get("watch") != "") {
			// Not a broken connection: client-go tries those again itself, for
			// ten seconds.
			http.Error(w, "the line is cut", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r.WithContext(ctx))
	}))
	t.Cleanup(func() { l.set(true); server.Close() })
	return &rest.Config{Host: server.URL, QPS: -1}
}

func (l *line) enter(cancel context.CancelFunc, watch bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return false
	}
	if watch {
		l.watches++
	}
	l.next++
	l.cancels[l.next] = cancel
	return true
}

// set cuts or mends the line. Cutting ends every running request.
func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for n, cancel := range l.cancels {
			cancel()
			delete(l.cancels, n)
		}
	}
}

func (l *line) watching() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.watches
}

func newClient(t *testing.T, config *rest.Config) client.WithWatch {
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: kinds.Mapper()})
	require.NoError(t, err)
	return c
}

func makeBackup(t *testing.T, c client.Client, namespace string) *v1alpha1.VMBackup {
	b := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "point"},
		Spec:       v1alpha1.VMBackupSpec{VM: "web", Target: "s3"},
	}
	require.NoError(t, c.Create(t.Context(), b))
	return b
}

func phase(t *testing.T, c client.Client, b *v1alpha1.VMBackup, p v1alpha1.BackupPhase) {
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(b), b))
	b.Status.Phase = p
	require.NoError(t, c.Status().Update(t.Context(), b))
}

const deadline = time.Minute

// What happens while the API server is away, with the watch cut in the middle,
// is seen when it is back.
func TestFollowGoesOnAfterTheAPIServerWasAway(t *testing.T) {
	config := harness.APIServer(t)
	direct := newClient(t, config)
	b := makeBackup(t, direct, harness.Namespace(t, config))
	l := &line{cancels: map[int]context.CancelFunc{}}
	kind, _ := kinds.Find("backup")

	trouble, seen := make(chan error, 100), make(chan v1alpha1.BackupPhase, 100)
	f := follow.Follower{
		Client: newClient(t, l.serve(t, config)), Kind: kind, Key: client.ObjectKeyFromObject(b), UID: b.UID,
		Seen: func(o client.Object) bool {
			p := o.(*v1alpha1.VMBackup).Status.Phase
			seen <- p
			return p == v1alpha1.BackupReady
		},
		Trouble: func(err error) { trouble <- err },
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()

	require.Equal(t, v1alpha1.BackupPhase(""), <-seen)
	require.Eventually(t, func() bool { return l.watching() == 1 }, deadline, time.Millisecond)
	phase(t, direct, b, v1alpha1.BackupCutting)
	require.Equal(t, v1alpha1.BackupCutting, <-seen, "by the watch")
	l.set(true)
	phase(t, direct, b, v1alpha1.BackupUploading)
	require.Error(t, <-trouble)
	l.set(false)
	require.Equal(t, v1alpha1.BackupUploading, <-seen, "by the next round's read")
	require.Eventually(t, func() bool { return l.watching() == 2 }, deadline, time.Millisecond)
	phase(t, direct, b, v1alpha1.BackupReady)
	require.NoError(t, <-ended)
}

func TestFollowEnds(t *testing.T) {
	config := harness.APIServer(t)
	c := newClient(t, config)
	kind, _ := kinds.Find("backup")
	follower := func(b *v1alpha1.VMBackup, seen func()) *follow.Follower {
		return &follow.Follower{
			Client: c, Kind: kind, Key: client.ObjectKeyFromObject(b), UID: b.UID,
			Seen: func(client.Object) bool { seen(); return false },
		}
	}
	t.Run("when the object is deleted", func(t *testing.T) {
		b := makeBackup(t, c, harness.Namespace(t, config))
		once := sync.OnceFunc(func() { assert.NoError(t, c.Delete(t.Context(), b)) })
		assert.ErrorIs(t, follower(b, once).Run(t.Context()), follow.ErrGone)
	})
	t.Run("when another object has the name", func(t *testing.T) {
		b := makeBackup(t, c, harness.Namespace(t, config))
		b.UID = "another"
		assert.ErrorIs(t, follower(b, func() { t.Error("seen") }).Run(t.Context()), follow.ErrGone)
	})
	t.Run("with the context's cause", func(t *testing.T) {
		b := makeBackup(t, c, harness.Namespace(t, config))
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		assert.ErrorIs(t, follower(b, func() { cancel(enough) }).Run(ctx), enough)
	})
}
