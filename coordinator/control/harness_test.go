// Package control_test runs the controllers against a real API server. The test
// itself plays the agents at the level of NodeJobs and session Leases (it writes
// the status that an agent would write), Longhorn's part of a restore and the
// binder of claims; the target work is a fake at the consumer's interface, which
// remembers what it was asked. No engine and no target is behind it: that is
// what the end-to-end tests are for.
package control_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/control"
	"hayloft.dev/coordinator/plan"
	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// world is an API server that one test has for its time, since a coordinator looks
// at the users' objects in all namespaces.
type world struct {
	t      *testing.T
	ctx    context.Context
	server harness.Server
	config *rest.Config
	client client.Client
	ns     string // the users'
	own    string // Hayloft's
	lh     string // Longhorn's
	fake   *fakeTargets
	opts   control.Options
	// account is what coordinators are; nil: the administrator that the test is.
	account *rest.ImpersonationConfig
	// wrap stands between coordinators and the API server; nil: nothing does.
	wrap func(http.RoundTripper) http.RoundTripper
	// meanwhile is done at every look of eventually, and tells whether that is to
	// begin its minute anew; nil: nothing is.
	meanwhile func() bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := harness.OwnAPIServer(t)
	config := server.Config
	scheme, err := control.Scheme()
	require.NoError(t, err)
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	w := &world{
		t: t, ctx: t.Context(), server: server, config: config, client: c,
		ns: harness.Namespace(t, config), own: harness.Namespace(t, config), lh: harness.Namespace(t, config),
		fake: newFakeTargets(),
	}
	p := plan.DefaultConfig()
	p.RetryAfter, p.WorkRetry, p.ImageRetry = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	p.WorkPatience, p.CleanPatience = 2*time.Second, time.Second
	w.opts = control.Options{
		Namespace: w.own, LonghornNamespace: w.lh, Plan: p, Targets: w.fake, Recorder: nobody{},
		Log: slog.New(slog.NewTextHandler(testLog(), &slog.HandlerOptions{Level: slog.LevelDebug})), ClaimTimeout: time.Minute, StatusEvery: 50 * time.Millisecond,
		SweepEvery: time.Hour, SessionDuration: time.Second,
	}
	t.Cleanup(w.clear)
	return w
}

// clear takes this test's objects away: the next test's coordinator would see
// them.
func (w *world) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var backups v1alpha1.VMBackupList
	var restores v1alpha1.VMRestoreList
	var targets v1alpha1.BackupTargetList
	var schedules v1alpha1.VMScheduleList
	var all []client.Object
	for _, l := range []client.ObjectList{&backups, &restores, &targets, &schedules} {
		if err := w.client.List(ctx, l); err != nil {
			w.t.Error(err)
		}
	}
	for i := range backups.Items {
		all = append(all, &backups.Items[i])
	}
	for i := range restores.Items {
		all = append(all, &restores.Items[i])
	}
	for i := range targets.Items {
		all = append(all, &targets.Items[i])
	}
	for i := range schedules.Items {
		all = append(all, &schedules.Items[i])
	}
	for _, o := range all {
		o.SetFinalizers(nil)
		if err := w.client.Update(ctx, o); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
		if err := w.client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	}
}

func testLog() io.Writer {
	if os.Getenv("HAYLOFT_TEST_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}

// start runs a coordinator until stop is called or the test ends.
func (w *world) start(identity string) (c *control.Controller, stop func()) {
	w.t.Helper()
	// Who stops gives its lease back, so none of this is waited for; a busy machine
	// must not end a leader.
	c, cancel, ended := w.run(control.Election{Identity: identity, Duration: 30 * time.Second, Renew: 20 * time.Second, Retry: 200 * time.Millisecond})
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("manager %s: %v", identity, err)
			}
		case <-time.After(atMost):
			w.t.Errorf("manager %s did not end", identity)
		}
	})
	w.t.Cleanup(stop)
	return c, stop
}

// run runs a coordinator until cancel is called. ended gets how it has ended.
func (w *world) run(e control.Election) (c *control.Controller, cancel func(), ended <-chan error) {
	w.t.Helper()
	config := rest.CopyConfig(w.config)
	if w.account != nil {
		config.Impersonate = *w.account
	}
	if w.wrap != nil {
		config.Wrap(w.wrap)
	}
	mgr, err := control.NewManager(config, w.opts, e)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	c, err = control.Setup(ctx, mgr, w.opts)
	require.NoError(w.t, err)
	end := make(chan error, 1)
	go func() { end <- mgr.Start(ctx) }()
	return c, cancel, end
}

type nobody struct{}

func (nobody) JobDone(string, string, time.Duration, time.Duration) {}
func (nobody) PointDone(metrics.Point)                              {}
func (nobody) RestoreDone(metrics.Restore)                          {}
func (nobody) Retried(string)                                       {}
func (nobody) Reassigned()                                          {}
func (nobody) Swept(string)                                         {}

// atMost is for what takes a moment, on however busy a machine.
const atMost = 3 * time.Minute

// eventually polls until ok is true.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(atMost)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s", atMost, what)
		}
		if w.meanwhile != nil && w.meanwhile() {
			deadline = time.Now().Add(atMost)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// holds fails when ok is false at any look within d.
func (w *world) holds(what string, d time.Duration, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !ok() {
			w.t.Fatalf("not any more: %s", what)
		}
	}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		require.NoError(w.t, w.client.Create(w.ctx, o), "creating %T %s", o, o.GetName())
	}
}

func (w *world) target(name string) *v1alpha1.BackupTarget {
	w.t.Helper()
	t := &v1alpha1.BackupTarget{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-" + w.ns},
		Spec:       v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "/backups"}},
	}
	w.create(t)
	return t
}

func (w *world) backup(name, vm, target string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns},
		Spec:       v1alpha1.VMBackupSpec{VM: vm, Target: target},
	}
	w.create(b)
	return b
}

// refresh reads an object again; false: it is gone.
func (w *world) refresh(o client.Object) bool {
	w.t.Helper()
	err := w.client.Get(w.ctx, client.ObjectKeyFromObject(o), o)
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return err == nil
}

func (w *world) awaitBackup(b *v1alpha1.VMBackup, phase v1alpha1.BackupPhase) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("VMBackup %s is %s", b.Name, phase), func() bool { return w.refresh(b) && b.Status.Phase == phase })
}

func ready(conditions []metav1.Condition) (reason, message string) {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if c == nil {
		return "", ""
	}
	return c.Reason, c.Message
}

func (w *world) jobs() []v1alpha1.NodeJob {
	w.t.Helper()
	var list v1alpha1.NodeJobList
	require.NoError(w.t, w.client.List(w.ctx, &list, client.InNamespace(w.own)))
	return list.Items
}

// awaitJob waits for the job of a kind ("cut", "backup", ...) for a disk and
// attempt of an owner.
func (w *world) awaitJob(kind string, owner types.UID, disk string, attempt int32) *v1alpha1.NodeJob {
	w.t.Helper()
	j := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Name: names.Job(kind, owner, disk, attempt), Namespace: w.own}}
	w.eventually("job "+j.Name, func() bool { return w.refresh(j) })
	return j
}
