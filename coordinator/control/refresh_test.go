package control_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/refresh"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
	"hayloft.dev/test/points"
)

// counts is what was told of refreshes.
type counts struct {
	mu                           sync.Mutex
	done, failed, loops, skipped int
	requests                     int64
}

func (c *counts) RefreshDone(_, reason string, _, _ time.Duration, requests int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	c.requests = requests
	if reason != "" {
		c.failed++
	}
}

func (c *counts) RefreshSkipped(string, string) { c.mu.Lock(); defer c.mu.Unlock(); c.skipped++ }
func (c *counts) RefreshClamped(string)         {}
func (c *counts) RefreshLoop(string)            { c.mu.Lock(); defer c.mu.Unlock(); c.loops++ }

func (c *counts) get() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return counts{done: c.done, failed: c.failed, loops: c.loops, skipped: c.skipped, requests: c.requests}
}

// onDirectory is a world whose targets are real ones, in a directory that is
// looked through every second.
func onDirectory(t *testing.T) (w *world, dir string, target *v1alpha1.BackupTarget) {
	t.Helper()
	w = newWorld(t)
	w.opts.Targets = &targetwork.Caller{Path: harness.TestedBinary(t, "targetio"), Kubeconfig: w.server.Kubeconfig, Namespace: w.own}
	w.opts.Refresh = refresh.DefaultBounds()
	w.opts.Refresh.Default, w.opts.Refresh.Floor, w.opts.Refresh.WallShare = 200*time.Millisecond, 100*time.Millisecond, 1
	dir = t.TempDir()
	one := resource.MustParse("1")
	target = &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "dir-" + w.ns}}
	target.Spec.Directory = &v1alpha1.DirectoryTarget{Path: dir}
	target.Spec.Refresh = &v1alpha1.TargetRefresh{MaxCPU: &one}
	w.create(target)
	return w, dir, target
}

func (w *world) points() map[string]v1alpha1.VMBackup {
	w.t.Helper()
	var list v1alpha1.VMBackupList
	require.NoError(w.t, w.client.List(w.ctx, &list, client.InNamespace(w.ns)))
	out := map[string]v1alpha1.VMBackup{}
	for _, b := range list.Items {
		out[b.Name] = b
	}
	return out
}

func (w *world) documents(t *v1alpha1.BackupTarget) v1alpha1.RefreshedDocuments {
	w.t.Helper()
	w.refresh(t)
	if t.Status.Refresh == nil || t.Status.Refresh.Documents == nil {
		return v1alpha1.RefreshedDocuments{}
	}
	return *t.Status.Refresh.Documents
}

// seenTimes waits until a target was listed some times more.
func (w *world) seenTimes(c *counts, n int) {
	w.t.Helper()
	from := c.get().done
	w.eventually(fmt.Sprintf("%d more refreshes", n), func() bool { return c.get().done >= from+n })
}

func TestPointsOfAnotherClusterAppear(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	c := &counts{}
	w.opts.Refreshes = c
	for i := range 3 {
		points.WriteAll(t, dir, points.Document(w.ns, fmt.Sprintf("p%d", i), i))
	}
	bad := points.Path(t, points.Document(w.ns, "bad", 9))
	points.Write(t, dir, bad, []byte("{"))
	_, stop := w.start("one")
	w.eventually("three points appear", func() bool {
		all := w.points()
		return len(all) == 3 && all["p0"].Status.Phase == v1alpha1.BackupReady && all["p2"].Status.Phase == v1alpha1.BackupReady
	})
	want := points.Document(w.ns, "p1", 1)
	b := w.points()["p1"]
	require.Equal(t, &v1alpha1.FoundPoint{ClusterUID: points.Cluster, UID: want.Point.UID}, b.Spec.Found)
	require.Equal(t, v1alpha1.DeletionRetain, b.Spec.DeletionPolicy)
	require.Equal(t, string(points.Cluster), b.Labels[v1alpha1.LabelFound])
	require.Equal(t, want.Origin.VM, b.Spec.VM)
	require.Empty(t, b.Finalizers)
	require.Equal(t, points.Path(t, want), b.Status.Document)
	require.NotEmpty(t, b.Status.DocumentDigest)
	require.Equal(t, want.Disks[0].Backup, b.Status.Disks[0].Backup)
	require.Empty(t, b.Status.Disks[0].Snapshot, "its engine snapshot is another cluster's")
	w.eventually("the target tells of it", func() bool { return w.documents(target).Points == 3 })
	require.EqualValues(t, 1, w.documents(target).Faulty)
	require.Equal(t, bad, target.Status.Refresh.Faults[0].Path)
	require.Positive(t, target.Status.Refresh.Cost.CPUMilliseconds)
	require.Equal(t, "Closed", target.Status.Refresh.Circuit)

	// One that a user deletes stays away, its data untouched.
	require.NoError(t, w.client.Delete(w.ctx, &b))
	w.eventually("it is told as forgotten", func() bool { return w.documents(target).Forgotten == 1 })
	w.seenTimes(c, 2)
	require.Len(t, w.points(), 2)
	require.FileExists(t, filepath.Join(dir, b.Status.Document))
	require.Empty(t, w.jobs(), "nothing is backed up for a point that was found")

	// So it does for the next leader, which reads no document again.
	stop()
	w.start("two")
	w.seenTimes(c, 2)
	require.Len(t, w.points(), 2)
	w.eventually("all is unchanged", func() bool { return w.documents(target).Unchanged == 4 && w.documents(target).New == 0 })
	require.EqualValues(t, 1, w.documents(target).Forgotten)
}

func TestPointsWaitForTheirNamespace(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	later := w.ns + "-later"
	points.WriteAll(t, dir, points.Document(later, "p1", 1), points.Document("kube-system", "p2", 2))
	w.start("one")
	w.eventually("both are told as waiting", func() bool { return w.documents(target).Waiting == 2 })
	require.Len(t, target.Status.Refresh.Waiting, 2)
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: later}})
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: later, Name: "p1"}}
	w.eventually("one appears", func() bool { return w.refresh(b) && b.Status.Phase == v1alpha1.BackupReady })
	w.eventually("the other waits", func() bool { return w.documents(target).Waiting == 1 })
	require.Contains(t, target.Status.Refresh.Waiting[0].Message, "namespace of the system")
}

func TestVanishedPointsAreMissingThenGo(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	c := &counts{}
	w.opts.Refreshes = c
	w.start("one")
	gone, back, stays := points.Document(w.ns, "gone", 1), points.Document(w.ns, "back", 2), points.Document(w.ns, "stays", 3)
	points.WriteAll(t, dir, gone, back, stays)
	w.eventually("all appear", func() bool { return w.documents(target).Points == 3 })
	watching, err := client.NewWithWatch(w.config, client.Options{Scheme: w.client.Scheme()})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	changes, err := watching.Watch(ctx, &v1alpha1.VMBackupList{}, client.InNamespace(w.ns))
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, points.Path(t, gone))))
	require.NoError(t, os.Remove(filepath.Join(dir, points.Path(t, back))))
	// They are missing for two looks only, which a busy test could pass over.
	for missing := map[string]bool{}; len(missing) < 2; {
		change, open := <-changes.ResultChan()
		require.True(t, open, "not within a minute: both are missing, of which are %v", missing)
		if b, ok := change.Object.(*v1alpha1.VMBackup); ok && b.Status.Phase == v1alpha1.BackupMissing {
			require.NotEqual(t, "stays", b.Name)
			missing[b.Name] = true
		}
	}
	changes.Stop()
	points.WriteAll(t, dir, back)
	w.eventually("one is gone, and the other is there again", func() bool {
		all := w.points()
		_, there := all["gone"]
		return !there && all["back"].Status.Phase == v1alpha1.BackupReady
	})
	require.Equal(t, v1alpha1.BackupReady, w.points()["stays"].Status.Phase)

	// All of them gone at once is no proof of anything.
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "hayloft", "points")))
	w.eventually("they are missing", func() bool { return w.points()["stays"].Status.Phase == v1alpha1.BackupMissing })
	w.seenTimes(c, 5)
	require.Len(t, w.points(), 2)
	// Nor is a target that cannot be listed.
	require.NoError(t, os.Rename(dir, dir+".away"))
	w.eventually("the target is not ready", func() bool { w.refresh(target); r, _ := ready(target.Status.Conditions); return r == "NotFound" })
	require.NoError(t, os.Rename(dir+".away", dir))
	points.WriteAll(t, dir, back, stays)
	w.eventually("they are back", func() bool {
		all := w.points()
		return all["stays"].Status.Phase == v1alpha1.BackupReady && all["back"].Status.Phase == v1alpha1.BackupReady
	})
}

// A VMBackup that has the point's name is never touched.
func TestNamesThatAreTaken(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	own := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "nightly"}, Spec: v1alpha1.VMBackupSpec{VM: "absent", Target: "other"}}
	w.create(own)
	points.WriteAll(t, dir, points.Document(w.ns, "nightly", 1), points.Document(w.ns, "nightly", 2))
	w.start("one")
	w.eventually("both have names of their own", func() bool { return w.documents(target).Points == 2 && len(w.points()) == 3 })
	uids := map[string]bool{}
	for name, b := range w.points() {
		if name == "nightly" {
			require.Equal(t, own.UID, b.UID)
			continue
		}
		require.Regexp(t, "^nightly-[0-9a-f]{10}$", name)
		uids[string(b.Spec.Found.UID)] = true
	}
	require.Len(t, uids, 2)
}

// A VMBackup that was brought back with its status, under another UID, keeps its
// document: it is not found once more.
func TestAPointThatWasBroughtBackKeepsItsDocument(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	d := points.Document(w.ns, "own", 1)
	points.WriteAll(t, dir, d)
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "own"}, Spec: v1alpha1.VMBackupSpec{VM: "vm-0", Target: target.Name}}
	w.create(b)
	b.Status = v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupReady, Document: points.Path(t, d)}
	require.NoError(t, w.client.Status().Update(w.ctx, b))
	w.start("one")
	w.eventually("its document is known", func() bool { return w.documents(target).Points == 1 })
	require.Len(t, w.points(), 1)
}

// What a cluster has lost without a word, such as its whole state, it finds again.
func TestAnOwnPointThatWasLostIsFound(t *testing.T) {
	t.Parallel()
	w, dir, _ := onDirectory(t)
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "own"}, Spec: v1alpha1.VMBackupSpec{VM: "vm-0", Target: "dir-" + w.ns}}
	w.create(b)
	d := points.Document(w.ns, "own", 1)
	d.Point.UID = b.UID
	d.Disks[0].Snapshot, d.Disks[0].Backup = names.Snapshot(b.UID, 1, "root"), names.Backup(b.UID, "root", 1)
	points.WriteAll(t, dir, d)
	require.NoError(t, w.client.Delete(w.ctx, b)) // nobody has looked at it yet
	w.start("one")
	w.eventually("it is found", func() bool {
		f := w.points()["own"]
		return f.Spec.Found != nil && f.Spec.Found.UID == b.UID && f.Status.Phase == v1alpha1.BackupReady
	})
	path, err := document.PointPath(w.ns, "own", b.UID)
	require.NoError(t, err)
	require.Equal(t, path, w.points()["own"].Status.Document)
}

// Whatever the interval says, a target is looked through at its pace: neither the
// status, nor edits, nor requests make it faster.
func TestThePaceIsKept(t *testing.T) {
	t.Parallel()
	for _, interval := range []string{"", "0", "1s"} {
		t.Run("interval "+interval, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := &counts{}
			w.opts.Refreshes = c
			target := w.target("s3")
			target.Spec.Refresh = &v1alpha1.TargetRefresh{Interval: interval}
			require.NoError(t, w.client.Update(w.ctx, target))
			w.start("one")
			w.eventually("it was refreshed", func() bool { return c.get().done == 1 })
			for i := range 30 {
				w.eventually("an edit", func() bool {
					w.refresh(target)
					target.Annotations = map[string]string{v1alpha1.AnnotationRefresh: fmt.Sprint(i)}
					target.Spec.MaxConcurrentJobs = int32(i + 1)
					return w.client.Update(w.ctx, target) == nil
				})
			}
			w.holds("it is not refreshed again", 2*time.Second, func() bool { return c.get().done == 1 })
			w.refresh(target)
			want, from := 5*time.Minute, "Default"
			if interval == "1s" {
				want, from = time.Minute, "Floor"
			}
			require.Equal(t, want, target.Status.Refresh.EffectiveInterval.Duration)
			require.Equal(t, from, target.Status.Refresh.IntervalFrom)
			// It was asked for, and waits for the floor. Moments are to the second.
			earliest, latest := target.Status.Refresh.StartedTime.Add(time.Minute-time.Second), target.Status.Refresh.LastTime.Add(time.Minute+2*time.Second)
			require.True(t, !target.Status.Refresh.NextTime.Time.Before(earliest) && !target.Status.Refresh.NextTime.After(latest), "%v is not from %s to %s", target.Status.Refresh.NextTime, earliest, latest)
			require.Len(t, w.fake.called("refresh"), 1)
		})
	}
}

// A new leader keeps to what its predecessor has written down.
func TestANewLeaderDoesNotRefreshAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := &counts{}
	w.opts.Refreshes = c
	target := w.target("s3")
	_, stop := w.start("one")
	w.eventually("it was refreshed, and that is written", func() bool {
		w.refresh(target)
		return target.Status.Refresh != nil && target.Status.Refresh.LastTime != nil
	})
	stop()
	w.start("two")
	w.eventually("the new leader probes it", func() bool { return len(w.fake.called("probe")) > 1 })
	w.holds("it does not refresh it", time.Second, func() bool { return c.get().done == 1 })
}

// Something that changes a target all the time is found out, and stops nothing but
// the looks at it.
func TestALoopIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := &counts{}
	w.opts.Refreshes = c
	target := w.target("s3")
	w.start("one")
	w.eventually("it was refreshed", func() bool { return c.get().done == 1 })
	for i := 0; c.get().loops == 0 && i < 2000; i++ {
		patch := fmt.Sprintf(`{"spec":{"maxConcurrentJobs":%d}}`, i%7+1)
		require.NoError(t, w.client.Patch(w.ctx, target, client.RawPatch("application/merge-patch+json", []byte(patch))))
	}
	require.Positive(t, c.get().loops)
	require.Equal(t, 1, c.get().done)
	w.eventually("an event tells of it", func() bool {
		var list corev1.EventList
		require.NoError(t, w.client.List(w.ctx, &list, client.InNamespace("default")))
		for _, e := range list.Items {
			if e.InvolvedObject.UID == target.UID && e.Reason == "RefreshLoop" {
				return true
			}
		}
		return false
	})
}

// A target that fails is left alone for longer and longer, and costs what it costs.
func TestAFailingRefreshBacksOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := &counts{}
	w.opts.Refreshes = c
	w.opts.Refresh = refresh.DefaultBounds()
	w.opts.Refresh.Floor, w.opts.Refresh.Trip, w.opts.Refresh.OpenFor = 50*time.Millisecond, 2, time.Hour
	w.fake.fail("refresh", &protocol.Error{Reason: protocol.AccessDenied, Message: "not allowed to list"})
	target := w.target("s3")
	w.start("one")
	w.eventually("the circuit opens", func() bool {
		w.refresh(target)
		return target.Status.Refresh != nil && target.Status.Refresh.Circuit == "Open"
	})
	require.Equal(t, "not allowed to list", target.Status.Refresh.Message)
	require.EqualValues(t, 2, target.Status.Refresh.Failures)
	r, _ := ready(target.Status.Conditions)
	require.Equal(t, "Probed", r, "it can be written to and read")
	w.fake.fail("refresh", nil)
	require.NoError(t, w.client.Patch(w.ctx, target, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"hayloft.dev/refresh-requested":"now"}}}`))))
	w.eventually("a person's word is a trial, and closes it", func() bool {
		w.refresh(target)
		return target.Status.Refresh.Circuit == "Closed" && target.Status.Refresh.Requested == "now"
	})
	require.Empty(t, target.Status.Refresh.Message)
}
