package control_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// lossGrace is short; what is missing must be missing for that long.
const lossGrace = time.Second

// snapshotWorld is a world that looks often and soon believes what it sees.
func snapshotWorld(t *testing.T) *world {
	w := newWorld(t)
	w.opts.Plan.LossGrace, w.opts.Plan.LookEvery = lossGrace, 500*time.Millisecond
	return w
}

func (w *world) snapshotOf(name, vm string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns},
		Spec:       v1alpha1.VMBackupSpec{VM: vm, Type: v1alpha1.TypeSnapshot},
	}
	w.create(b)
	return b
}

// keptPoint takes a point of type Snapshot of VM web to its end.
func (w *world) keptPoint(name, session string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := w.snapshotOf(name, "web")
	w.cut(b, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	return b
}

// shown plays Longhorn: it makes the object of a disk's engine snapshot.
func (w *world) shown(d v1alpha1.BackupDisk) *longhorn.Snapshot {
	w.t.Helper()
	s := &longhorn.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Name: d.Snapshot, Namespace: w.lh, Labels: map[string]string{"longhornvolume": d.Volume}},
		Spec:       longhorn.SnapshotSpec{Volume: d.Volume},
	}
	w.create(s)
	return s
}

// attached plays Longhorn: a volume's engine runs and shows snapshots.
func (w *world) attached(volume string, snapshots ...string) {
	w.t.Helper()
	shown := map[string]*longhorn.SnapshotInfo{"volume-head": {Name: "volume-head"}}
	for _, name := range snapshots {
		shown[name] = &longhorn.SnapshotInfo{Name: name}
	}
	w.engineRuns(volume, shown, map[string]longhorn.ReplicaMode{"r-1": longhorn.ReplicaModeRW})
	w.volumeAttached(volume)
}

func (w *world) engineRuns(volume string, snapshots map[string]*longhorn.SnapshotInfo, modes map[string]longhorn.ReplicaMode) {
	w.t.Helper()
	e := &longhorn.Engine{ObjectMeta: metav1.ObjectMeta{Name: volume + "-e-0", Namespace: w.lh, Labels: map[string]string{"longhornvolume": volume}}}
	e.Spec.VolumeName, e.Spec.DataEngine = volume, longhorn.DataEngineTypeV1
	w.create(e)
	e.Status.CurrentState, e.Status.Snapshots, e.Status.ReplicaModeMap = longhorn.InstanceStateRunning, snapshots, modes
	require.NoError(w.t, w.client.Status().Update(w.ctx, e))
}

func (w *world) volumeAttached(volume string) {
	w.t.Helper()
	v := &longhorn.Volume{}
	require.NoError(w.t, w.client.Get(w.ctx, client.ObjectKey{Namespace: w.lh, Name: volume}, v))
	v.Status.State = longhorn.VolumeStateAttached
	require.NoError(w.t, w.client.Status().Update(w.ctx, v))
}

func TestSnapshotBecomesReady(t *testing.T) {
	t.Parallel()
	w := snapshotWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.keptPoint("s1", session)
	require.Equal(t, names.PointSecret(b.UID), b.Status.Document)
	require.Equal(t, "sha256:00", b.Status.DocumentDigest)
	require.Empty(t, w.fake.called("probe"), "there is no target")
	w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })

	w.keptPoint("s2", session)
	w.ready("p1", w.target("s3").Name, session)
	w.holds("no engine snapshot of it is removed", 500*time.Millisecond, func() bool {
		return !slices.ContainsFunc(w.jobs(), func(j v1alpha1.NodeJob) bool { return j.Spec.RemoveSnapshots != nil })
	})

	require.NoError(t, w.client.Delete(w.ctx, b))
	for _, disk := range []string{"root", "data"} {
		j := w.awaitJob("remove", b.UID, disk, 1)
		require.Equal(t, []string{names.Snapshot(b.UID, 1, disk)}, j.Spec.RemoveSnapshots.Snapshots)
		w.claim(j, session)
		w.succeed(j, nil)
	}
	w.eventually("the object is gone", func() bool { return !w.refresh(b) })
	require.Equal(t, []string{string(b.UID) + " 0"}, w.fake.called("deletePoint"))
}

func TestSnapshotIsClonedToANewVM(t *testing.T) {
	t.Parallel()
	w := snapshotWorld(t)
	w.start("one")
	session, _ := w.point()
	b := w.keptPoint("s1", session)
	s := w.restore("r1", b.Name, "web2")
	for i, disk := range []string{"root", "data"} {
		j := w.awaitJob("clone", s.UID, disk, 1)
		require.Equal(t, b.Status.Disks[i].Snapshot, j.Spec.Clone.Snapshot)
		require.Equal(t, b.Status.Disks[i].Volume, j.Spec.Clone.SourceVolume)
		r := &longhorn.Replica{ObjectMeta: metav1.ObjectMeta{Name: j.Spec.Clone.Volume + "-r", Namespace: w.lh, Labels: map[string]string{"longhornvolume": j.Spec.Clone.Volume}}}
		r.Spec.DataEngine = longhorn.DataEngineTypeV1
		w.create(r)
		w.claim(j, session)
		w.succeed(j, func(st *v1alpha1.NodeJobStatus) {
			st.Record = &v1alpha1.RestoreRecord{
				Attempt: 1, VolumeUID: j.Spec.Clone.VolumeUID, Engine: "e", EngineUID: "u", EngineAddress: "a", Snapshot: j.Spec.Clone.Snapshot, RecordedAt: metav1.Now(),
				Replicas: []v1alpha1.ReplicaRecord{{Name: r.Name, Address: "a", Cloned: j.Spec.Clone.Snapshot}},
			}
		})
	}
	require.NoError(t, w.client.Delete(w.ctx, b))
	w.holds("its point waits for it", 300*time.Millisecond, func() bool { return w.refresh(b) })
	w.bindClaims("web2")
	w.awaitRestore(s, v1alpha1.RestoreReady)
	require.Empty(t, w.fake.called("inspectBackups"))
}

func TestSnapshotsThatLoseSomething(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// lose takes something away; d is the point's disk root.
		lose func(w *world, d v1alpha1.BackupDisk)
		says string // empty: the point stays Ready
	}{
		"marked as removed": {func(w *world, d v1alpha1.BackupDisk) {
			s := w.shown(d)
			s.Status.MarkRemoved = true
			require.NoError(w.t, w.client.Status().Update(w.ctx, s))
		}, "was removed"},
		"object deleted, volume detached": {func(w *world, d v1alpha1.BackupDisk) {
			s := w.shown(d)
			require.NoError(w.t, w.client.Delete(w.ctx, s))
		}, "was removed"},
		"object deleted, but the engine shows it": {func(w *world, d v1alpha1.BackupDisk) {
			w.attached(d.Volume, d.Snapshot)
			s := w.shown(d)
			require.NoError(w.t, w.client.Delete(w.ctx, s))
		}, ""},
		"never an object, volume detached":         {func(*world, v1alpha1.BackupDisk) {}, ""},
		"never an object, but the engine shows it": {func(w *world, d v1alpha1.BackupDisk) { w.attached(d.Volume, d.Snapshot) }, ""},
		"the engine does not show it":              {func(w *world, d v1alpha1.BackupDisk) { w.attached(d.Volume, "others") }, "was removed"},
		"the engine was not asked yet":             {func(w *world, d v1alpha1.BackupDisk) { w.attachedUnasked(d.Volume) }, ""},
		"the engine was started again, and not asked since": {func(w *world, d v1alpha1.BackupDisk) {
			w.engineRuns(d.Volume, map[string]*longhorn.SnapshotInfo{"volume-head": {Name: "volume-head"}}, nil)
			w.volumeAttached(d.Volume)
		}, ""},
		"the object of a clone's snapshot deleted, which has its name": {func(w *world, d v1alpha1.BackupDisk) {
			clone := d
			clone.Volume = "hl-clone"
			require.NoError(w.t, w.client.Delete(w.ctx, w.shown(clone)))
		}, ""},
		"the clone's object stays, and the engine does not show it": {func(w *world, d v1alpha1.BackupDisk) {
			clone := d
			clone.Volume = "hl-clone"
			w.shown(clone)
			w.attached(d.Volume, "others")
		}, "was removed"},
		"volume deleted": {func(w *world, d v1alpha1.BackupDisk) {
			require.NoError(w.t, w.client.Delete(w.ctx, &longhorn.Volume{ObjectMeta: metav1.ObjectMeta{Name: d.Volume, Namespace: w.lh}}))
		}, "was deleted, and its engine snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := snapshotWorld(t)
			w.start("one")
			session, _ := w.session("n1")
			w.vm("web")
			b := w.keptPoint("s1", session)
			c.lose(w, b.Status.Disks[0])
			if c.says == "" {
				w.holds("it is Ready", 4*lossGrace, func() bool { return w.refresh(b) && b.Status.Phase == v1alpha1.BackupReady })
				return
			}
			w.awaitBackup(b, v1alpha1.BackupDataLost)
			reason, message := ready(b.Status.Conditions)
			require.Equal(t, plan.ReasonDataLost, reason)
			require.Contains(t, message, c.says)
			require.Equal(t, v1alpha1.DiskFailed, b.Status.Disks[0].State)
			require.Equal(t, v1alpha1.DiskDone, b.Status.Disks[1].State)
			w.eventually("an event tells", func() bool {
				var events corev1.EventList
				require.NoError(t, w.client.List(w.ctx, &events, client.InNamespace(w.ns)))
				for _, e := range events.Items {
					if e.Reason == plan.ReasonDataLost && e.InvolvedObject.UID == b.UID {
						return true
					}
				}
				return false
			})
		})
	}
}

// A list of the engine's snapshots that has never shown one may be older than the
// cut, however long ago that was: Longhorn's manager may be busy, or away. Once it
// has shown it, it counts, for other leaders too.
func TestListThatMayBeOlderThanTheCut(t *testing.T) {
	t.Parallel()
	w := snapshotWorld(t)
	w.asItself()
	w.opts.Plan.LookEvery = time.Hour
	_, stop := w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.keptPoint("s1", session)
	root := b.Status.Disks[0]
	w.attached(root.Volume, "others")
	w.holds("it is Ready", 4*lossGrace, func() bool { return w.refresh(b) && b.Status.Phase == v1alpha1.BackupReady })

	shown := w.shown(root)
	w.eventually("it is known to be listed", func() bool { w.refresh(b); return b.Status.Disks[0].Listed })
	stop()
	require.NoError(t, w.client.Delete(w.ctx, shown))
	w.start("two")
	w.awaitBackup(b, v1alpha1.BackupDataLost)
}

// attachedUnasked is an engine that runs and whose snapshots nobody has read.
func (w *world) attachedUnasked(volume string) {
	w.t.Helper()
	w.engineRuns(volume, nil, nil)
	w.volumeAttached(volume)
}

func TestSnapshotsGoWithTheirVM(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"deleted": false, "made again under its name": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := snapshotWorld(t)
			w.start("one")
			session, _ := w.session("n1")
			vm := w.vm("web")
			target := w.target("s3")
			b := w.keptPoint("s1", session)
			backup := w.ready("p1", target.Name, session)
			w.holds("it is there as long as its VM is", 2*lossGrace, func() bool { return w.refresh(b) && b.DeletionTimestamp.IsZero() })
			require.NoError(t, w.client.Delete(w.ctx, vm))
			if again {
				w.eventually("the VM is gone", func() bool { return !w.refresh(vm) })
				w.create(w.vmObject("web", "web-root", "web-data"))
			}
			for _, disk := range []string{"root", "data"} {
				j := w.awaitJob("remove", b.UID, disk, 1)
				w.claim(j, session)
				w.succeed(j, nil)
			}
			w.eventually("the point is gone", func() bool { return !w.refresh(b) })
			require.True(t, w.refresh(backup), "a backup stays")
			require.Equal(t, v1alpha1.BackupReady, backup.Status.Phase)
		})
	}
}

// As long as nothing is missing, looking costs no request.
func TestLooksAtSnapshotsCostNothing(t *testing.T) {
	t.Parallel()
	w := snapshotWorld(t)
	count := &counter{count: map[string]int{}}
	w.config = rest.CopyConfig(w.config)
	w.config.Wrap(func(next http.RoundTripper) http.RoundTripper { count.next = next; return count })
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	shown, detached := w.keptPoint("s1", session), w.keptPoint("s2", session)
	for _, d := range shown.Status.Disks {
		w.shown(d)
	}
	w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
	w.eventually("it is known to be listed", func() bool {
		w.refresh(shown)
		return shown.Status.Disks[0].Listed && shown.Status.Disks[1].Listed
	})
	// What had been begun may come late, such as the last event.
	var said string
	w.eventually("no request of a coordinator that looked eight times at each", func() bool {
		count.take()
		w.holds("both are Ready", 4*lossGrace, func() bool {
			return w.refresh(shown) && w.refresh(detached) && shown.Status.Phase == v1alpha1.BackupReady && detached.Status.Phase == v1alpha1.BackupReady
		})
		got := count.take()
		if now := fmt.Sprint(got); now != said {
			said = now
			t.Log(now)
		}
		return len(got) == 0
	})
}
