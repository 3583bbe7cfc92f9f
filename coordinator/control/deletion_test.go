package control_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// graves remembers what was buried, and whether the point was still there at first.
type graves struct {
	mu     sync.Mutex
	buried []plan.Tombstone
	before func() bool
	held   bool
}

func (g *graves) Bury(_ context.Context, t plan.Tombstone) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.buried) == 0 {
		g.held = g.before()
	}
	g.buried = append(g.buried, t)
	return nil
}

func (g *graves) reasons() (out []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.buried {
		out = append(out, t.Reason)
	}
	return out
}

// unreachable is a target that does not answer.
var unreachable = &protocol.Error{Reason: protocol.Unreachable, Message: "connection refused", Transient: true}

func progressing(b *v1alpha1.VMBackup) (reason, message string) {
	if c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionProgressing); c != nil {
		return c.Reason, c.Message
	}
	return "", ""
}

// removed plays the agent that removes a point's engine snapshots.
func (w *world) removed(b *v1alpha1.VMBackup, session string) {
	w.t.Helper()
	for _, disk := range []string{"root", "data"} {
		j := w.awaitJob("remove", b.UID, disk, 1)
		w.claim(j, session)
		w.succeed(j, nil)
	}
}

// Data that is kept by a user's word, said before or after the deletion, has a
// tombstone before its VMBackup goes.
func TestKeptDataHasATombstone(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{plan.TombstoneRetained, plan.TombstoneForced} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			g := &graves{}
			w.opts.Tombstones = g
			w.start("one")
			session, _ := w.session("n1")
			w.vm("web")
			b := w.ready("p1", w.target("s3").Name, session)
			key := client.ObjectKeyFromObject(b)
			g.before = func() bool { return w.client.Get(context.Background(), key, &v1alpha1.VMBackup{}) == nil }
			w.fake.fail("deletePoint", unreachable)
			require.NoError(t, w.client.Delete(w.ctx, b))
			w.removed(b, session)
			w.eventually("it says that the target holds it up", func() bool {
				w.refresh(b)
				reason, message := progressing(b)
				return reason == plan.ReasonDeletionHeldUp && message != ""
			})
			w.eventually("an event tells", func() bool { return w.heard(b, plan.ReasonDeletionHeldUp) })
			w.holds("it waits", 300*time.Millisecond, func() bool { return w.refresh(b) && len(g.reasons()) == 0 })

			change := `{"spec":{"deletionPolicy":"Retain"}}`
			if reason == plan.TombstoneForced {
				change = `{"metadata":{"annotations":{"` + v1alpha1.AnnotationForceDeletion + `":"true"}}}`
			}
			require.NoError(t, w.client.Patch(w.ctx, b, merge(change)))
			w.eventually("it is gone", func() bool { return !w.refresh(b) })
			// Once more, where its finalizer could not be taken at once.
			require.Equal(t, []string{reason}, slices.Compact(g.reasons()))
			g.mu.Lock()
			defer g.mu.Unlock()
			require.True(t, g.held, "the tombstone was there first")
			require.Equal(t, b.Spec.Target, g.buried[0].Target)
			require.Equal(t, b.Status.Document, g.buried[0].Path)
		})
	}
}

// What is deleted with its namespace was not spoken about: nothing is removed
// from the target, and nothing keeps it from being found again.
func TestPointOfANamespaceThatGoesKeepsItsData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := &graves{before: func() bool { return true }}
	w.opts.Tombstones = g
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.ready("p1", w.target("s3").Name, session)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	require.NoError(t, w.client.Delete(w.ctx, ns))
	require.NoError(t, w.client.Delete(w.ctx, b)) // as the namespace controller does
	w.removed(b, session)
	w.eventually("it is gone", func() bool { return !w.refresh(b) })
	require.Empty(t, w.fake.called("deletePoint"))
	require.Empty(t, g.reasons())
	w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
}

// A failed point can be deleted though its target is gone for good.
func TestFailedPointOfADeadTargetGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.Plan.DeletePatience = time.Second
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.cut(b, session)
	w.fake.fail("deletePoint", unreachable)
	w.fake.fail("dropAttempt", unreachable)
	w.upload(b, "data", 1, session)
	j := w.awaitJob("backup", b.UID, "root", 1)
	w.claim(j, session)
	w.failJob(j, v1alpha1.ReasonTargetError, "the target went away", false)
	w.removed(b, session)
	require.NoError(t, w.client.Delete(w.ctx, b))
	w.eventually("it is gone", func() bool { return !w.refresh(b) })
	w.eventually("an event tells what is left", func() bool { return w.heard(b, "LeftBehind") })
}

// A target that is deleted under a backup, which no webhook refused, fails it
// after a while, unless it comes back.
func TestTargetThatIsDeletedUnderABackup(t *testing.T) {
	t.Parallel()
	t.Run("comes back", func(t *testing.T) {
		t.Parallel()
		w, b, _ := targetDeletedUnderABackup(t, time.Hour)
		w.awaitWords(b, "was deleted meanwhile: create it again")
		w.target("s3")
		w.awaitBackup(b, v1alpha1.BackupReady)
	})
	t.Run("stays away", func(t *testing.T) {
		t.Parallel()
		w, b, session := targetDeletedUnderABackup(t, 2*time.Second)
		w.eventually("it failed", func() bool {
			w.refresh(b)
			reason, _ := ready(b.Status.Conditions)
			return reason == "TargetNotFound"
		})
		w.removed(b, session)
		w.awaitWords(b, "create it again, or set spec.deletionPolicy to Retain")
		require.NoError(t, w.client.Delete(w.ctx, b))
		w.eventually("it can be deleted", func() bool { return !w.refresh(b) })
	})
}

func targetDeletedUnderABackup(t *testing.T, patience time.Duration) (w *world, b *v1alpha1.VMBackup, session string) {
	w = newWorld(t)
	w.opts.Plan.WorkPatience = patience
	w.start("one")
	session, _ = w.session("n1")
	w.vm("web")
	target := w.target("s3")
	b = w.backup("p1", "web", target.Name)
	w.cut(b, session)
	w.upload(b, "root", 1, session)
	require.NoError(t, w.client.Delete(w.ctx, target))
	w.upload(b, "data", 1, session)
	return w, b, session
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionRetain} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start("one")
			session, _ := w.session("n1")
			w.vm("web")
			b := w.ready("p1", w.target("s3").Name, session)
			b.Spec.DeletionPolicy = policy
			require.NoError(t, w.client.Update(w.ctx, b))
			require.NoError(t, w.client.Delete(w.ctx, b))
			for _, disk := range []string{"root", "data"} {
				j := w.awaitJob("remove", b.UID, disk, 1)
				w.claim(j, session)
				w.succeed(j, nil)
			}
			w.eventually("the object is gone", func() bool { return !w.refresh(b) })
			w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
			want := 1
			if policy == v1alpha1.DeletionRetain {
				want = 0
			}
			require.Len(t, w.fake.called("deletePoint"), want)
		})
	}
}

// lateWatches is a way to the API server on which watches of VMBackups tell nothing
// while held is locked.
type lateWatches struct {
	next http.RoundTripper
	held *sync.RWMutex
}

func (l lateWatches) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.next.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/vmbackups") && r.URL.Query().Has("watch") {
		answer.Body = lateBody{answer.Body, l.held}
	}
	return answer, err
}

type lateBody struct {
	io.ReadCloser
	held *sync.RWMutex
}

func (b lateBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.held.RLock()
	defer b.held.RUnlock()
	return n, err
}

// A point that was let go leaves no job, though what its jobs tell when they go has the
// coordinator look at it before it knows that the point is gone.
func TestAPointThatIsGoneIsNotCleanedUpAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	late := &sync.RWMutex{}
	w.wrap = func(next http.RoundTripper) http.RoundTripper { return lateWatches{next, late} }
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.ready("p1", w.target("s3").Name, session)
	b.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	require.NoError(t, w.client.Update(w.ctx, b))
	require.NoError(t, w.client.Delete(w.ctx, b))
	root, data := w.awaitJob("remove", b.UID, "root", 1), w.awaitJob("remove", b.UID, "data", 1)
	w.claim(root, session)
	w.claim(data, session)
	w.succeed(root, nil)
	// What it says then is what there would be to say of a clean-up that begins anew, so
	// that nothing were to be written first, which would tell that it is gone.
	w.eventually("the other disk's are waited for", func() bool {
		w.refresh(b)
		c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionProgressing)
		return c != nil && c.Message == "removing engine snapshots of disk data"
	})
	late.Lock()
	t.Cleanup(sync.OnceFunc(late.Unlock))
	w.succeed(data, nil)
	w.eventually("the object is gone", func() bool { return !w.refresh(b) })
	w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
	w.holds("it has no jobs", time.Second, func() bool { return len(w.jobs()) == 0 })
}

func TestDeletionWaitsForTheTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.ready("p1", w.target("s3").Name, session)
	w.fake.fail("deletePoint", &protocol.Error{Reason: protocol.Locked, Message: "another process holds the lock", Transient: true})
	require.NoError(t, w.client.Delete(w.ctx, b))
	w.eventually("the object says what it waits for", func() bool {
		w.refresh(b)
		for _, c := range b.Status.Conditions {
			if c.Type == v1alpha1.ConditionProgressing && c.Status == metav1.ConditionTrue {
				return len(w.fake.called("deletePoint")) > 2
			}
		}
		return false
	})
	w.fake.fail("deletePoint", nil)
	for _, disk := range []string{"root", "data"} {
		w.succeed(w.awaitJob("remove", b.UID, disk, 1), nil)
	}
	w.eventually("the object is gone", func() bool { return !w.refresh(b) })
}
