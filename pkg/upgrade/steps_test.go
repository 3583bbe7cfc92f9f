package upgrade

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const deadline = time.Minute

// world is a real API server with nothing of Hayloft's in it: the steps go over
// all namespaces, so tests do not run beside each other.
type world struct {
	client.WithWatch
	t         *testing.T
	namespace string
}

func newWorld(t *testing.T) *world {
	config := harness.APIServer(t)
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	w := &world{WithWatch: c, t: t, namespace: harness.Namespace(t, config)}
	t.Cleanup(func() {
		for _, o := range []client.Object{&v1alpha1.VMSchedule{}, &v1alpha1.VMBackup{}, &v1alpha1.VMRestore{}} {
			require.NoError(t, c.DeleteAllOf(context.Background(), o, client.InNamespace(w.namespace)))
		}
	})
	return w
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.namespace, Name: name}
}

func (w *world) schedule(name string, change ...func(*v1alpha1.VMSchedule)) *v1alpha1.VMSchedule {
	s := &v1alpha1.VMSchedule{
		ObjectMeta: w.meta(name),
		Spec:       v1alpha1.VMScheduleSpec{Cron: "0 2 * * *", VM: "web", Target: "s3", MaxFailures: 2, Retention: v1alpha1.Retention{KeepLast: 3}},
	}
	for _, c := range change {
		c(s)
	}
	require.NoError(w.t, w.Create(w.t.Context(), s))
	return s
}

func suspended(by string) func(*v1alpha1.VMSchedule) {
	return func(s *v1alpha1.VMSchedule) {
		s.Spec.Suspend = true
		if by != "" {
			s.Annotations = map[string]string{v1alpha1.AnnotationSuspendedBy: by, v1alpha1.AnnotationSuspendReason: "because of " + by}
		}
	}
}

func (w *world) backup(name string, phase v1alpha1.BackupPhase) *v1alpha1.VMBackup {
	b := &v1alpha1.VMBackup{ObjectMeta: w.meta(name), Spec: v1alpha1.VMBackupSpec{VM: "web", Target: "s3"}}
	require.NoError(w.t, w.Create(w.t.Context(), b))
	w.say(b, phase)
	return b
}

func (w *world) say(b *v1alpha1.VMBackup, phase v1alpha1.BackupPhase) {
	b.Status.Phase = phase
	require.NoError(w.t, w.Status().Update(w.t.Context(), b))
}

func (w *world) restore(name string) *v1alpha1.VMRestore {
	r := &v1alpha1.VMRestore{ObjectMeta: w.meta(name), Spec: v1alpha1.VMRestoreSpec{Backup: "point", NewVM: "web2"}}
	require.NoError(w.t, w.Create(w.t.Context(), r))
	return r
}

func (w *world) get(name string) *v1alpha1.VMSchedule {
	s := &v1alpha1.VMSchedule{}
	require.NoError(w.t, w.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, s))
	return s
}

func blockers(r Report) (out []string) {
	for _, b := range r.Blockers {
		out = append(out, b.Kind+" "+b.Name+" "+b.State)
	}
	return out
}

func names(list []Suspended) (out []string) {
	for _, s := range list {
		out = append(out, s.Name)
	}
	return out
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	u := &Steps{Client: w}
	r, err := u.Check(t.Context())
	require.NoError(t, err)
	require.True(t, r.Ready())
	require.Empty(t, r.Suspended)

	active := w.schedule("active")
	w.schedule("users", suspended(""))
	w.backup("done", v1alpha1.BackupReady)
	w.backup("moving", v1alpha1.BackupUploading)
	w.restore("copy")
	r, err = u.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"VMSchedule active Active", "VMBackup moving Uploading", "VMRestore copy Pending"}, blockers(r))
	require.Equal(t, active.ResourceVersion, w.get("active").ResourceVersion, "nothing is changed")
}

func TestPrepareAndFinish(t *testing.T) {
	w := newWorld(t)
	u := &Steps{Client: w}
	w.schedule("a")
	w.schedule("b")
	w.schedule("failed", suspended(v1alpha1.SuspendedByCoordinator))
	w.schedule("users", suspended(""))
	w.schedule("waits", suspended(v1alpha1.SuspendedByCoordinator), func(s *v1alpha1.VMSchedule) {
		s.Spec.ResumeAfterTargetReadySeconds = ptr.To(int32(60))
	})
	before, err := u.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"VMSchedule a Active", "VMSchedule b Active", "VMSchedule waits Waiting"}, blockers(before))
	for range 2 { // the second time there is nothing to do
		r, err := u.Prepare(t.Context(), PrepareOptions{Reason: "Hayloft goes to 1.1"})
		require.NoError(t, err)
		require.True(t, r.Ready(), "%v", blockers(r))
		require.Equal(t, []Suspended{{w.namespace, "a", "Hayloft goes to 1.1"}, {w.namespace, "b", "Hayloft goes to 1.1"}}, r.Suspended)
	}
	a := w.get("a")
	require.True(t, a.Spec.Suspend)
	require.Equal(t, v1alpha1.SuspendedByUpgrade, a.Annotations[v1alpha1.AnnotationSuspendedBy])
	require.Equal(t, "Hayloft goes to 1.1", w.get("waits").Annotations[v1alpha1.AnnotationHeld])

	// Meanwhile one is resumed by a person, and a new one is made.
	require.NoError(t, w.Patch(t.Context(), w.get("b"), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"suspend":false}}`))))
	w.schedule("c")
	r, err := u.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"VMSchedule b Active", "VMSchedule c Active"}, blockers(r))

	resumed, err := u.Finish(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names(resumed))
	require.False(t, w.get("a").Spec.Suspend)
	require.Empty(t, w.get("a").Annotations)
	for _, name := range []string{"failed", "users", "waits"} {
		require.True(t, w.get(name).Spec.Suspend, name)
	}
	for _, name := range []string{"failed", "waits"} {
		by := v1alpha1.SuspendedByCoordinator
		require.Equal(t, map[string]string{v1alpha1.AnnotationSuspendedBy: by, v1alpha1.AnnotationSuspendReason: "because of " + by}, w.get(name).Annotations)
	}
	resumed, err = u.Finish(t.Context())
	require.NoError(t, err)
	require.Empty(t, resumed)
}

// TestSuspendedMeanwhile: what somebody suspends during an upgrade is theirs, and what
// they edit is not; no coordinator takes the marks.
func TestSuspendedMeanwhile(t *testing.T) {
	w := newWorld(t)
	u := &Steps{Client: w}
	for _, name := range []string{"applied", "edited", "resumed-twice", "suspended-again"} {
		w.schedule(name)
	}
	prepare := func(want ...string) {
		t.Helper()
		r, err := u.Prepare(t.Context(), PrepareOptions{Reason: "an upgrade"})
		require.NoError(t, err)
		require.True(t, r.Ready())
		require.Equal(t, want, names(r.Suspended))
	}
	prepare("applied", "edited", "resumed-twice", "suspended-again")
	patch := func(name string, specs ...string) {
		t.Helper()
		for _, spec := range specs {
			o := w.get(name)
			require.NoError(t, w.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+spec+`}`)), client.FieldOwner("kubectl-patch")))
		}
	}
	patch("edited", `{"cron":"0 3 * * *"}`)
	patch("suspended-again", `{"suspend":false}`, `{"suspend":true}`)
	patch("resumed-twice", `{"suspend":false}`, `{"suspend":true}`, `{"suspend":false}`)
	applied := `{"apiVersion":"hayloft.dev/v1alpha1","kind":"VMSchedule","spec":{"suspend":true}}`
	require.NoError(t, w.Patch(t.Context(), w.get("applied"), client.RawPatch("application/apply-patch+yaml", []byte(applied)), client.FieldOwner("kubectl")))

	prepare("edited", "resumed-twice")
	resumed, err := u.Finish(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"edited", "resumed-twice"}, names(resumed))
	for _, name := range []string{"applied", "suspended-again"} {
		require.True(t, w.get(name).Spec.Suspend, name)
		require.Empty(t, w.get(name).Annotations, name)
	}
	resumed, err = u.Finish(t.Context())
	require.NoError(t, err)
	require.Empty(t, resumed)
}

// TestKilledHalfWay has each step end after each of its writes, and be made again.
func TestKilledHalfWay(t *testing.T) {
	w := newWorld(t)
	killed := errors.New("killed")
	for _, name := range []string{"a", "b", "c"} {
		w.schedule(name)
	}
	w.schedule("users", suspended(""))
	for writes := range 3 {
		left := writes
		dying := &Steps{Client: interceptor.NewClient(w, interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				if left--; left < 0 {
					return killed
				}
				return c.Patch(ctx, o, p, opts...)
			},
		})}
		_, err := dying.Prepare(t.Context(), PrepareOptions{Reason: "an upgrade"})
		require.ErrorIs(t, err, killed)
		r, err := (&Steps{Client: w}).Prepare(t.Context(), PrepareOptions{Reason: "an upgrade"})
		require.NoError(t, err)
		require.True(t, r.Ready())
		require.Equal(t, []string{"a", "b", "c"}, []string{r.Suspended[0].Name, r.Suspended[1].Name, r.Suspended[2].Name})

		left = writes
		resumed, err := dying.Finish(t.Context())
		require.ErrorIs(t, err, killed)
		require.Len(t, resumed, writes)
		again, err := (&Steps{Client: w}).Finish(t.Context())
		require.NoError(t, err)
		require.Len(t, again, 3-writes)
		for _, name := range []string{"a", "b", "c"} {
			require.False(t, w.get(name).Spec.Suspend, name)
		}
		require.True(t, w.get("users").Spec.Suspend)
	}
}

// TestChangedMeanwhile has somebody write a schedule between the look and the
// write.
func TestChangedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.schedule("edited")
	w.schedule("users")
	w.schedule("gone")
	first := true
	u := &Steps{Client: interceptor.NewClient(w, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if first {
				first = false
				for name, patch := range map[string]string{"edited": `{"spec":{"cron":"0 3 * * *"}}`, "users": `{"spec":{"suspend":true}}`} {
					if err := c.Patch(ctx, w.get(name), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
						return err
					}
				}
				if err := c.Delete(ctx, w.get("gone")); err != nil {
					return err
				}
			}
			return c.Patch(ctx, o, p, opts...)
		},
	})}
	_, err := u.Prepare(t.Context(), PrepareOptions{Reason: "an upgrade"})
	require.NoError(t, err)
	require.Equal(t, "0 3 * * *", w.get("edited").Spec.Cron)
	require.Equal(t, v1alpha1.SuspendedByUpgrade, w.get("edited").Annotations[v1alpha1.AnnotationSuspendedBy])
	require.Empty(t, w.get("users").Annotations, "a person was faster")
	resumed, err := u.Finish(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"edited"}, names(resumed))
}

func TestWait(t *testing.T) {
	w := newWorld(t)
	w.schedule("nightly")
	moving := w.backup("moving", v1alpha1.BackupUploading)
	copying := w.restore("copy")
	reports := make(chan Report, 20)
	done := make(chan error, 1)
	go func() {
		u := &Steps{Client: w, Poll: 10 * time.Millisecond}
		done <- u.Wait(t.Context(), PrepareOptions{Reason: "an upgrade"}, func(r Report) { reports <- r })
	}()
	next := func() []string {
		select {
		case r := <-reports:
			return blockers(r)
		case <-time.After(deadline):
			t.Fatal("no report")
			return nil
		}
	}
	require.Equal(t, []string{"VMBackup moving Uploading", "VMRestore copy Pending"}, next())
	require.False(t, moving.Spec.Cancel)

	// A run that had begun makes one more point.
	late := w.backup("late", v1alpha1.BackupCutting)
	w.say(moving, v1alpha1.BackupReady)
	require.Equal(t, []string{"VMRestore copy Pending"}, next())
	require.NoError(t, w.Delete(t.Context(), copying))
	require.Empty(t, next())
	require.Equal(t, []string{"VMBackup late Cutting"}, next())
	w.say(late, v1alpha1.BackupFailed)
	require.NoError(t, <-done)
}

// TestWaitSuspendsWhatIsResumed has a person resume a schedule while its run is
// waited for.
func TestWaitSuspendsWhatIsResumed(t *testing.T) {
	w := newWorld(t)
	s := w.schedule("users", suspended(""))
	s.Status.Runs = []v1alpha1.ScheduleRun{{NominalTime: metav1.Now(), BeganAt: metav1.Now(), Points: 1}}
	require.NoError(t, w.Status().Update(t.Context(), s))
	seen := make(chan []string, 20)
	done := make(chan error, 1)
	go func() {
		u := &Steps{Client: w, Poll: 10 * time.Millisecond}
		done <- u.Wait(t.Context(), PrepareOptions{Reason: "an upgrade"}, func(r Report) { seen <- append(blockers(r), names(r.Suspended)...) })
	}()
	until := func(want ...string) {
		t.Helper()
		for {
			select {
			case got := <-seen:
				if slices.Equal(got, want) {
					return
				}
			case <-time.After(deadline):
				t.Fatalf("never told: %q", want)
			}
		}
	}
	until("VMSchedule users Running")
	require.NoError(t, w.Patch(t.Context(), w.get("users"), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"suspend":false}}`))))
	until("VMSchedule users Running", "users")
	s = w.get("users")
	require.Equal(t, v1alpha1.SuspendedByUpgrade, s.Annotations[v1alpha1.AnnotationSuspendedBy])
	s.Status.Runs = nil
	require.NoError(t, w.Status().Update(t.Context(), s))
	require.NoError(t, <-done)
}

func TestWaitCancels(t *testing.T) {
	w := newWorld(t)
	b, r := w.backup("moving", v1alpha1.BackupUploading), w.restore("copy")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("that is too long"))
	defer cancel()
	u := &Steps{Client: w, Poll: 10 * time.Millisecond}
	err := u.Wait(ctx, PrepareOptions{Cancel: true}, func(Report) {})
	require.ErrorContains(t, err, "that is too long", "nobody is there who would end them")
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(b), b))
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(r), r))
	require.True(t, b.Spec.Cancel)
	require.True(t, r.Spec.Cancel)
}

// A coordinator that had asked whether a schedule stands makes its point a moment after
// the schedule was suspended, and records it later.
func TestPrepareWaitsForPointsThatAreNotRecorded(t *testing.T) {
	w := newWorld(t)
	now := metav1.Now()
	s := w.schedule("due")
	s.Status.NextTime = &now
	require.NoError(t, w.Status().Update(t.Context(), s))
	made := make(chan error, 1)
	u := &Steps{Client: interceptor.NewClient(w, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			time.AfterFunc(time.Second, func() {
				b := &v1alpha1.VMBackup{ObjectMeta: w.meta("late"), Spec: v1alpha1.VMBackupSpec{VM: "web", Target: "s3"}}
				made <- w.Create(ctx, b)
			})
			return c.Patch(ctx, o, p, opts...)
		},
	})}
	r, err := u.Prepare(t.Context(), PrepareOptions{Reason: "an upgrade"})
	require.NoError(t, err)
	require.NoError(t, <-made)
	require.Equal(t, []string{"VMBackup late Pending"}, blockers(r))
}
