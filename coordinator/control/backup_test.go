package control_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

func TestBackupBecomesReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	session, _ := w.session("n1") // who starts afterwards knows of it
	w.start("one")
	w.vm("web")
	target := w.target("s3")
	b := w.backup("p1", "web", target.Name)

	cut := w.awaitJob("cut", b.UID, "", 1)
	require.Equal(t, "n1", cut.Spec.NodeName, "a job is made already assigned when an agent is free")
	require.Len(t, cut.Spec.Cut.Disks, 2)
	w.cut(b, session)
	root := w.awaitJob("backup", b.UID, "root", 1)
	require.Equal(t, names.Snapshot(b.UID, 1, "root"), root.Spec.Backup.Snapshot)
	w.upload(b, "root", 1, session)
	w.awaitBackup(b, v1alpha1.BackupUploading)
	require.Empty(t, w.fake.called("finalize"), "nobody looks at the target before all disks are in")
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)

	require.Equal(t, "hayloft/points/"+w.ns+"/p1-"+string(b.UID)+".json", b.Status.Document)
	require.Equal(t, v1alpha1.ConsistencyCrash, b.Status.Consistency)
	require.EqualValues(t, 2, *b.Status.CutWindowMilliseconds)
	require.Equal(t, "web", b.Labels[v1alpha1.LabelVM])
	require.Contains(t, b.Finalizers, v1alpha1.FinalizerData)
	for _, d := range b.Status.Disks {
		require.Equal(t, v1alpha1.DiskDone, d.State)
		require.EqualValues(t, 1000, *d.UploadedBytes)
	}
	w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
	require.Len(t, w.fake.called("capture"), 1)
	require.Len(t, w.fake.called("finalize"), 1)

	given := w.fake.given()
	require.NotNil(t, given, "what was read of the VM is handed over")
	require.Contains(t, string(given.VM), `"kind":"VirtualMachine"`)
	require.Empty(t, given.VMI, "it does not run")
	require.NotEmpty(t, given.ClusterUID)
	for _, d := range b.Status.Disks {
		require.Contains(t, string(given.Claims[d.Claim]), `"kind":"PersistentVolumeClaim"`)
	}
}

func TestRefusedBackups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	w.session("n1")
	w.vm("web")
	good := w.target("good")
	w.class("longhorn-" + w.ns)
	w.claimOn("nfs", &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "nfs-" + w.ns},
		Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/"}}},
	})
	w.create(w.vmObject("mixed", "web-root", "nfs"), w.vmObject("lost", "nowhere"))

	for _, c := range []struct{ name, vm, target, reason, says string }{
		{"no-target", "web", "nothing", "TargetNotFound", `no BackupTarget "nothing"`},
		{"no-vm", "ghost", good.Name, "Refused", `no VirtualMachine "ghost"`},
		{"other-storage", "mixed", good.Name, "Refused", "disk data (claim nfs) is on NFS"},
		{"no-claim", "lost", good.Name, "Refused", "nowhere does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := w.backup(c.name, c.vm, c.target)
			w.awaitBackup(b, v1alpha1.BackupFailed)
			reason, message := ready(b.Status.Conditions)
			require.Equal(t, c.reason, reason)
			require.Contains(t, message, c.says)
			require.Empty(t, b.Finalizers, "nothing was done, so nothing keeps it")
		})
	}
	require.Empty(t, w.jobs(), "a refused backup does nothing")
	require.Empty(t, w.fake.called("capture"))
}

func TestTargetThatIsNotReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	w.session("n1")
	w.vm("web")
	w.fake.fail("probe", &protocol.Error{Reason: protocol.InvalidCredentials, Message: "the key is not known"})
	target := w.target("s3")
	b := w.backup("p1", "web", target.Name)
	w.awaitBackup(b, v1alpha1.BackupFailed)
	reason, message := ready(b.Status.Conditions)
	require.Equal(t, "TargetNotReady", reason)
	require.Contains(t, message, "InvalidCredentials: the key is not known")
	w.eventually("the target says so", func() bool {
		w.refresh(target)
		r, _ := ready(target.Status.Conditions)
		return r == "InvalidCredentials"
	})
	require.Empty(t, w.jobs())
}

func TestFailedAttemptIsDroppedAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.cut(b, session)
	first := w.awaitJob("backup", b.UID, "root", 1)
	w.claim(first, session)
	w.fake.fail("inspectBackups", &protocol.Error{Reason: protocol.InProgress, Message: "it is not complete", Transient: true})
	w.failJob(first, v1alpha1.ReasonTransferLost, "the process is gone", true)
	second := w.awaitJob("backup", b.UID, "root", 2)
	require.NotEqual(t, first.Spec.Backup.Backup, second.Spec.Backup.Backup, "an attempt's name is used once")
	require.Equal(t, first.Spec.Backup.Snapshot, second.Spec.Backup.Snapshot)
	w.upload(b, "root", 2, session)
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	lost := names.Backup(b.UID, "root", 1)
	require.Equal(t, []string{lost, lost}, w.fake.called("dropAttempt"), "when it had failed, and once more when the point was whole")
}

// An attempt whose end nobody saw is looked for on the target, and taken over
// if it is whole.
func TestLostAttemptThatIsWholeIsTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.cut(b, session)
	first := w.awaitJob("backup", b.UID, "root", 1)
	w.claim(first, session)
	w.failJob(first, v1alpha1.ReasonTransferLost, "the process is gone", true)
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	require.EqualValues(t, 1, b.Status.Disks[0].Attempt)
	require.Equal(t, []string{"1"}, w.fake.called("inspectBackups"), "one disk, once")
	require.Empty(t, w.fake.called("dropAttempt"))
}

func TestFailedPointLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.cut(b, session)
	w.upload(b, "root", 1, session)
	j := w.awaitJob("backup", b.UID, "data", 1)
	w.claim(j, session)
	w.failJob(j, v1alpha1.ReasonSnapshotMissing, "the snapshot is gone", false)
	for _, disk := range []string{"root", "data"} {
		remove := w.awaitJob("remove", b.UID, disk, 1)
		require.Equal(t, []string{names.Snapshot(b.UID, 1, disk)}, remove.Spec.RemoveSnapshots.Snapshots)
		w.claim(remove, session)
		w.succeed(remove, nil)
	}
	w.awaitBackup(b, v1alpha1.BackupFailed)
	reason, message := ready(b.Status.Conditions)
	require.Equal(t, v1alpha1.ReasonSnapshotMissing, reason)
	require.Equal(t, "disk data: the snapshot is gone", message)
	w.eventually("jobs and finalizer are gone", func() bool { w.refresh(b); return len(w.jobs()) == 0 && len(b.Finalizers) == 0 })
	require.Equal(t, []string{string(b.UID) + " 2"}, w.fake.called("deletePoint"))
	require.Empty(t, w.fake.called("finalize"), "a partial point never gets a document")
}

// The third backup removes the first point's engine snapshots, the second is its
// base; no point gets a job for that.
func TestLaterBackupRemovesEngineSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	target := w.target("s3")
	first := w.ready("p1", target.Name, session)
	second := w.ready("p2", target.Name, session)
	third := w.backup("p3", "web", target.Name)
	w.cut(third, session)
	for _, d := range first.Status.Disks {
		j := w.awaitJob("backup", third.UID, d.Name, 1)
		require.Equal(t, []string{d.Snapshot}, j.Spec.Backup.Superseded)
		w.upload(third, d.Name, 1, session)
	}
	w.awaitBackup(third, v1alpha1.BackupReady)
	w.eventually("the first point has no engine snapshots", func() bool {
		w.refresh(first)
		return first.Status.Disks[0].Snapshot == "" && first.Status.Disks[1].Snapshot == ""
	})
	w.eventually("the jobs are gone", func() bool { return len(w.jobs()) == 0 })
	w.refresh(second)
	require.NotEmpty(t, second.Status.Disks[0].Snapshot, "the next backup takes it along")

	fourth := w.backup("p4", "web", target.Name)
	w.cut(fourth, session)
	j := w.awaitJob("backup", fourth.UID, "root", 1)
	require.Equal(t, []string{second.Status.Disks[0].Snapshot}, j.Spec.Backup.Superseded, "and not again what is gone")
}

// A VM that is not backed up any more does not keep superseded snapshots for ever.
func TestSupersededSnapshotsGetAJobAfterAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.Plan.SupersededRest = time.Millisecond
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	target := w.target("s3")
	first := w.ready("p1", target.Name, session)
	w.ready("p2", target.Name, session)
	for _, disk := range []string{"root", "data"} {
		j := w.awaitJob("remove", first.UID, disk, 1)
		w.claim(j, session)
		w.succeed(j, nil)
	}
	w.eventually("the first point has no engine snapshots", func() bool {
		w.refresh(first)
		return first.Status.Disks[0].Snapshot == "" && first.Status.Disks[1].Snapshot == ""
	})
	w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
}

// What a restored disk has to be like was recorded when the point began: nothing
// is looked up when the document is written, by when the claims may be gone.
func TestClaimsThatGoDuringTheUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	vm := w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.cut(b, session)
	w.upload(b, "root", 1, session)
	last := w.awaitJob("backup", b.UID, "data", 1)
	w.claim(last, session)
	require.NoError(t, w.client.Delete(w.ctx, vm))
	w.disksGo(b)
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	disks := w.fake.documentOf(b.Status.Document).Disks
	require.Len(t, disks, 2)
	for _, d := range disks {
		require.True(t, d.Migratable, "%+v", d)
		require.Equal(t, "rwx", d.VolumeAccessMode)
		require.Equal(t, 2, d.NumberOfReplicas)
		require.Equal(t, "longhorn-"+w.ns, d.StorageClass)
		require.Equal(t, corev1.PersistentVolumeBlock, d.VolumeMode)
		require.Equal(t, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, d.AccessModes)
	}
}

// disksGo plays what follows on the deletion of claims.
func (w *world) disksGo(b *v1alpha1.VMBackup) {
	w.t.Helper()
	w.refresh(b)
	for _, d := range b.Status.Disks {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: d.Claim, Namespace: w.ns}}
		require.NoError(w.t, client.IgnoreNotFound(w.client.Delete(w.ctx, claim)))
		claim.Finalizers = nil
		require.NoError(w.t, client.IgnoreNotFound(w.client.Patch(w.ctx, claim, merge(`{"metadata":{"finalizers":null}}`))))
		volume := w.volume(d.Volume, nil)
		require.NoError(w.t, client.IgnoreNotFound(w.client.Delete(w.ctx, volume)))
		w.eventually("disk "+d.Name+" is gone", func() bool { return !w.refresh(claim) && !w.refresh(volume) })
	}
}

// A job goes at once to where its volume's engine runs, not first to the agent
// with the least to do.
func TestJobIsMadeForTheEnginesNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, node := range []string{"n1", "n2", "n3"} {
		w.session(node)
	}
	w.vm("web")
	for _, disk := range []string{"root", "data"} {
		v := w.volume("vol-"+w.ns+"-web-"+disk, nil)
		require.NoError(t, w.client.Get(w.ctx, client.ObjectKeyFromObject(v), v))
		require.NoError(t, unstructured.SetNestedField(v.Object, "n2", "status", "currentNodeID"))
		require.NoError(t, w.client.Status().Update(w.ctx, v))
	}
	w.start("one")
	b := w.backup("p1", "web", w.target("s3").Name)
	j := w.awaitJob("cut", b.UID, "", 1)
	w.eventually("it is assigned", func() bool { w.refresh(j); return j.Spec.NodeName != "" })
	require.Equal(t, "n2", j.Spec.NodeName)
}

// ready takes a point of VM web to its end.
func (w *world) ready(name, target, session string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := w.backup(name, "web", target)
	w.cut(b, session)
	w.upload(b, "root", 1, session)
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	return b
}

func TestCaptureThatFailsFailsThePoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	w.fake.fail("capture", &protocol.Error{Reason: protocol.NoSpace, Message: "the bucket is full"})
	b := w.backup("p1", "web", w.target("s3").Name)
	w.eventually("it failed", func() bool { w.refresh(b); r, _ := ready(b.Status.Conditions); return r == "NoSpace" })
	// Whether the cut was withdrawn or was already running, it leaves nothing.
	w.eventually("it ends", func() bool {
		w.removes(session)
		return w.refresh(b) && b.Status.Phase == v1alpha1.BackupFailed && len(w.jobs()) == 0 && len(b.Finalizers) == 0
	})
}

func TestLatencyFromCreationToCutJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	target := w.target("s3")
	w.ready("warm", target.Name, session)
	began := time.Now()
	b := w.backup("p1", "web", target.Name)
	w.awaitJob("cut", b.UID, "", 1)
	took := time.Since(began)
	t.Logf("from VMBackup to an assigned cut job: %s", took)
	require.Less(t, took, 50*time.Second, "it waits for none of the timers that come round by themselves")
	require.NoError(t, client.IgnoreNotFound(w.client.Delete(w.ctx, b)))
}
