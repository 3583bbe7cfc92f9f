package worker

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/agent/attach"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// never is longer than a test: what is kept so long is given back by something
// else than time.
const never = time.Hour

// keeping is a worker on node n1 with a session on a real API server.
type keeping struct {
	*Worker
	t         *testing.T
	c         client.Client
	namespace string
	session   *lease.Session
	requests  *atomic.Int32 // of the session
}

type counted struct {
	next http.RoundTripper
	n    *atomic.Int32
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.next.RoundTrip(r)
}

func newKeeping(t *testing.T) *keeping {
	t.Helper()
	config := harness.APIServer(t)
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	k := &keeping{t: t, c: c, namespace: harness.Namespace(t, config), requests: &atomic.Int32{}}
	k.session = k.open("n1", k.requests)
	k.Worker = &Worker{Node: "n1", Limits: Limits{Linger: never}, Log: slog.New(slog.DiscardHandler), Attacher: &attach.Attacher{}}
	return k
}

func (k *keeping) open(node string, n *atomic.Int32) *lease.Session {
	k.t.Helper()
	config := harness.APIServer(k.t)
	config.Wrap(transport.WrapperFunc(func(next http.RoundTripper) http.RoundTripper { return counted{next, n} }))
	c, err := client.New(config, client.Options{Scheme: k.c.Scheme()})
	require.NoError(k.t, err)
	// Longer than the test, so that its heartbeats do not count.
	s, err := lease.Open(k.t.Context(), c, lease.Options{Namespace: k.namespace, Node: node, Duration: lease.MaxDuration})
	require.NoError(k.t, err)
	k.t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func (k *keeping) holder(volume string) string {
	k.t.Helper()
	var l coordinationv1.Lease
	require.NoError(k.t, k.c.Get(k.t.Context(), client.ObjectKey{Namespace: k.namespace, Name: names.VolumeLease(volume)}, &l))
	return *l.Spec.HolderIdentity
}

func (k *keeping) awaitFree(volume string) {
	k.t.Helper()
	require.Eventually(k.t, func() bool { return k.holder(volume) == "" }, time.Minute, 10*time.Millisecond)
}

// cutDone is the end of a cut of volumes a and b whose engines are on a node.
func (k *keeping) cutDone(node string) map[string]int64 {
	k.t.Helper()
	held, err := k.session.AcquireAll(k.t.Context(), []string{"a", "b"})
	require.NoError(k.t, err)
	job := &v1alpha1.NodeJob{}
	job.Name = "cut"
	r := &run{Worker: k.Worker, Limits: k.Limits, job: job, session: k.session, held: held}
	for _, v := range []string{"a", "b"} {
		r.found(attach.Location{Volume: v, Node: node})
	}
	epochs := held.Epochs()
	r.keepForBackups()()
	return epochs
}

func backupOf(volume string) *v1alpha1.NodeJob {
	return &v1alpha1.NodeJob{Spec: v1alpha1.NodeJobSpec{Backup: &v1alpha1.BackupJob{Volume: volume}}}
}

func TestBackupsTakeOverWhatTheirCutHeld(t *testing.T) {
	k := newKeeping(t)
	epochs := k.cutDone("n1")
	sent := k.requests.Load()
	for _, volume := range []string{"a", "b"} {
		held, former, err := k.acquire(t.Context(), k.session, backupOf(volume))
		require.NoError(t, err)
		require.Equal(t, volume, former.at.Volume)
		require.Equal(t, map[string]int64{volume: epochs[volume]}, held.Epochs())
		require.Equal(t, sent, k.requests.Load(), "no request was needed")
		require.NoError(t, held.Check(t.Context()))
		require.NoError(t, held.Release(t.Context()))
		require.Empty(t, k.holder(volume))
		sent = k.requests.Load()
	}
	_, former, err := k.acquire(t.Context(), k.session, backupOf("a"))
	require.NoError(t, err)
	require.Nil(t, former, "it is handed over once")
}

func TestWhatNobodyTakesIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(k *keeping){
		"its time is over": nil,
		"its job is gone":  func(k *keeping) { k.Withdraw(client.ObjectKey{Name: "cut"}) },
		"the worker ends":  func(k *keeping) { require.NoError(k.t, k.Close(k.t.Context())) },
		"engine elsewhere": func(*keeping) {},
		"a session fell over": func(k *keeping) {
			require.NoError(k.t, k.session.Close(k.t.Context()))
			require.NoError(k.t, k.Close(k.t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeping(t)
			node := "n1"
			switch name {
			case "its time is over":
				k.Limits.Linger = time.Millisecond
			case "engine elsewhere":
				node = "n2"
			}
			k.cutDone(node)
			if end != nil {
				end(k)
			}
			k.awaitFree("a")
			k.awaitFree("b")
		})
	}
}

func TestWhatAnEndedWorkerWouldKeepIsGivenBack(t *testing.T) {
	k := newKeeping(t)
	require.NoError(t, k.Close(t.Context()))
	k.cutDone("n1")
	require.Empty(t, k.holder("a"))
}

func TestOtherWorkGetsTheVolumeAnew(t *testing.T) {
	k := newKeeping(t)
	k.cutDone("n1")
	job := &v1alpha1.NodeJob{Spec: v1alpha1.NodeJobSpec{RemoveSnapshots: &v1alpha1.RemoveSnapshotsJob{Volume: "a"}}}
	held, former, err := k.acquire(t.Context(), k.session, job)
	require.NoError(t, err)
	require.Nil(t, former)
	require.Equal(t, map[string]int64{"a": 2}, held.Epochs())
	require.NoError(t, held.Check(t.Context()))

	other := k.open("n1", &atomic.Int32{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	held, former, err = k.acquire(ctx, other, backupOf("b"))
	require.NoError(t, err, "a later session of this process does not wait for the former one's rest")
	require.Nil(t, former)
	require.Equal(t, map[string]int64{"b": 2}, held.Epochs())
}

// stale is a cache that has not seen yet how a job ended.
type stale struct {
	client.Reader
	job *v1alpha1.NodeJob
}

func (s stale) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	s.job.DeepCopyInto(o.(*v1alpha1.NodeJob))
	return nil
}

// asked counts how often somebody wanted to work.
type asked struct{ n int }

func (a *asked) Current(context.Context) (Session, error) {
	a.n++
	return nil, errors.New("no session")
}

// unobserved is an Observer of jobs that get nowhere.
type unobserved struct{ Observer }

func (unobserved) JobBegun(string) func() { return func() {} }

func TestJobThatEndedIsNotBegunAgain(t *testing.T) {
	job := &v1alpha1.NodeJob{Spec: v1alpha1.NodeJobSpec{NodeName: "n1"}, Status: v1alpha1.NodeJobStatus{State: v1alpha1.JobRunning}}
	job.Name, job.UID = "cut", "1"
	wants := &asked{}
	w := &Worker{Jobs: stale{job: job}, Sessions: wants, Observer: unobserved{}, Node: "n1", Log: slog.New(slog.DiscardHandler)}
	again := func() {
		_, _ = w.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(job)})
	}
	again()
	require.Equal(t, 1, wants.n)
	w.end(job)
	again()
	require.Equal(t, 1, wants.n, "its cache only lags behind")

	job.UID = "2"
	again()
	require.Equal(t, 2, wants.n, "another job of that name")
	job.UID = "1"
	w.Withdraw(client.ObjectKeyFromObject(job))
	require.Empty(t, w.ended, "nothing is remembered of a job that is gone")
}
