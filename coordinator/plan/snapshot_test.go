package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// snap makes a view one of a point of type Snapshot: no target, no probe.
func snap(v *BackupView) {
	v.Backup.Spec.Type, v.Backup.Spec.Target = v1alpha1.TypeSnapshot, ""
	v.Target, v.Probe = nil, Probe{}
}

func snapStarted(v *BackupView) {
	snap(v)
	v.Backup.Status = Backup(look(snap)).Status
	v.Backup.Finalizers = []string{v1alpha1.FinalizerData}
	v.Work[Work{Op: OpCapture}] = WorkState{Tries: 1, Ended: now}
}

func snapCut(v *BackupView) {
	snapStarted(v)
	job(kindCut, "", 1, cutDone)(v)
	v.Backup.Status = Backup(*v).Status
}

// defined is how OpFinalize ended.
func defined(captured string, s WorkState) func(*BackupView) {
	return work(OpFinalize, captured+",,", s)
}

func snapReady(v *BackupView) {
	snapCut(v)
	defined("true", WorkState{Tries: 1, Ended: now})(v)
	v.Finalized = &Finalized{Path: names.PointSecret(uid), Digest: "sha256:1", Secrets: 1}
	v.Backup.Status = Backup(*v).Status
	v.Backup.Status.CompletedAt = ago(time.Hour)
	v.Jobs, v.Work, v.Finalized = nil, Works{}, nil
}

func loses(disk string, since time.Duration) func(*BackupView) {
	return func(v *BackupView) {
		v.Kept.Losses = append(v.Kept.Losses, Loss{Disk: disk, What: "its snapshot was removed", Since: now.Add(-since)})
	}
}

func doubtful(v *BackupView) { v.Kept.Losses[0].Doubtful = true }

func snapLost(v *BackupView) {
	snapReady(v)
	loses("data", time.Minute)(v)
	v.Backup.Status = Backup(*v).Status
	v.Kept.Losses = nil
}

func vmGone(since time.Duration) func(*BackupView) {
	return func(v *BackupView) { v.Kept.VMGone = now.Add(-since) }
}

func TestSnapshot(t *testing.T) {
	for name, c := range map[string]struct {
		view        BackupView
		phase       v1alpha1.BackupPhase
		ready, says string
		do          []string
		after       time.Duration
		remove      bool
	}{
		"begins without a target": {view: look(snap), phase: "Cutting", do: []string{"create cut-1", "hold", "start Capture"}},
		"no VM": {
			view: look(snap, func(v *BackupView) { v.Source = nil }), phase: "Failed", ready: "False Refused", says: `no VirtualMachine "web"`, do: []string{"let go"},
		},
		"being cut": {view: look(snapStarted, job(kindCut, "", 1, running)), phase: "Cutting"},
		"at Longhorn's limit": {
			view:  look(snapStarted, job(kindCut, "", 1, failedJob(v1alpha1.ReasonSnapshotLimit, false, 0))),
			phase: "Cutting", ready: "False SnapshotLimit", says: "words of the agent", do: []string{"start DeletePoint 0"}, after: 30 * time.Second,
		},
		"cut": {view: look(snapStarted, job(kindCut, "", 1, cutDone)), phase: "Verifying", do: []string{"start Finalize"}},
		"cut, not captured yet": {
			view: look(snapStarted, job(kindCut, "", 1, cutDone), work(OpCapture, "", WorkState{Running: true})), phase: "Verifying",
		},
		"new leader": {view: look(snapCut, func(v *BackupView) { v.Work = Works{} }), phase: "Verifying", do: []string{"start Finalize"}},
		"new leader, nothing captured": {
			view: look(snapCut, func(v *BackupView) { v.Work = Works{} },
				defined("false", WorkState{Tries: 1, Ended: now, FirstFailed: now, Err: &WorkError{Reason: "NotFound", Message: "no draft"}})),
			phase: "Verifying", do: []string{"start Capture"},
		},
		"too large for a Secret": {
			view:  look(snapCut, defined("true", WorkState{Tries: 1, Ended: now, FirstFailed: now, Err: &WorkError{Reason: "Invalid", Message: "2000000 bytes"}})),
			phase: "Verifying", ready: "False Invalid", says: "Secret hayloft-point-" + string(uid) + ": 2000000 bytes",
			do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 0"}, after: 30 * time.Second,
		},
		"whole": {
			view: look(snapCut, defined("true", WorkState{Tries: 1, Ended: now}), func(v *BackupView) {
				v.Finalized = &Finalized{Path: names.PointSecret(uid), Digest: "sha256:1", Secrets: 1}
			}),
			phase: "Ready", ready: "True Complete", says: "copies of 1 Secret", do: []string{"drop jobs"},
		},
		"kept": {view: look(snapReady), phase: "Ready", ready: "True Complete", after: 10 * time.Minute},
		"young: Longhorn may not have looked yet": {
			view:  look(snapReady, func(v *BackupView) { v.Backup.Status.CompletedAt = ago(10 * time.Second) }),
			phase: "Ready", ready: "True Complete", after: 20 * time.Second,
		},
		"a newer point takes nothing away": {
			view: look(snapReady, func(v *BackupView) {
				v.Newer = []v1alpha1.VMBackup{*v.Backup.DeepCopy()}
			}), phase: "Ready", ready: "True Complete", after: 10 * time.Minute,
		},
		"something is missing, seen once": {view: look(snapReady, loses("root", 0)), phase: "Ready", ready: "True Complete", after: 30 * time.Second},
		"missing for long": {
			view: look(snapReady, loses("root", time.Minute)), phase: "DataLost", ready: "False DataLost",
			says: "disk root: its snapshot was removed; this point cannot be restored any more", after: 10 * time.Minute,
		},
		"missing from a list that may be old": {
			view:  look(snapReady, loses("root", time.Minute), doubtful),
			phase: "Ready", ready: "True Complete", after: 9 * time.Minute,
		},
		"missing from such a list for very long": {
			view: look(snapReady, loses("root", time.Hour), doubtful), phase: "DataLost", ready: "False DataLost",
			says: "disk root: its snapshot was removed", after: 10 * time.Minute,
		},
		"lost for good":          {view: look(snapLost), phase: "DataLost", ready: "False DataLost", after: 10 * time.Minute},
		"VM gone, seen once":     {view: look(snapReady, vmGone(0)), phase: "Ready", ready: "True Complete", after: 30 * time.Second},
		"VM gone for long":       {view: look(snapReady, vmGone(time.Minute)), phase: "Ready", ready: "True Complete", remove: true},
		"VM gone, data lost too": {view: look(snapLost, vmGone(time.Minute)), phase: "DataLost", ready: "False DataLost", remove: true},
		"deleted": {
			view: look(snapReady, deleting), phase: "Deleting", ready: "True Complete",
			do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 0"},
		},
		"deleted after its volumes": {
			view: look(snapLost, deleting, func(v *BackupView) { v.Gone = map[string]bool{"v-root": true, "v-data": true} },
				work(OpDeletePoint, "", WorkState{Tries: 1, Ended: now})),
			phase: "DataLost", ready: "False DataLost", do: []string{"let go"},
		},
		"deleted while it is read": {
			view: look(snapReady, deleting, func(v *BackupView) { v.Readers = []string{"r1"} }), phase: "Deleting", ready: "True Complete", after: 8 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Backup(c.view)
			require.Equal(t, c.phase, got.Status.Phase)
			require.Equal(t, c.ready, reason(got.Status.Conditions, v1alpha1.ConditionReady))
			require.Contains(t, message(got.Status.Conditions, v1alpha1.ConditionReady), c.says)
			require.Equal(t, c.do, told(got.Actions))
			require.Equal(t, c.after, got.After)
			require.Equal(t, c.remove, got.Delete)
			require.Equal(t, got, Backup(c.view), "the same view gives the same intent")
		})
	}
}

// What a document is made of is written down before it is made.
func TestSnapshotRecordsTheCutFirst(t *testing.T) {
	in := Backup(look(snapStarted, job(kindCut, "", 1, cutDone)))
	require.False(t, in.Cosmetic)
	require.Equal(t, names.Snapshot(uid, 2, "root"), in.Status.Disks[0].Snapshot)
	require.Empty(t, in.Status.Disks[0].Backup)
}

func TestLossIsTold(t *testing.T) {
	in := Backup(look(snapReady, loses("root", time.Minute), loses("data", 0)))
	require.Equal(t, v1alpha1.DiskFailed, in.Status.Disks[0].State)
	require.Equal(t, v1alpha1.DiskDone, in.Status.Disks[1].State, "not for long enough")
	require.Equal(t, "DataLost", in.Events[0].Reason)
	require.Equal(t, "Warning", in.Events[0].Type)
}

// ofSnapshot makes a restore one of a point of type Snapshot.
func ofSnapshot(v *RestoreView) {
	v.Target = nil
	v.Backup.Spec.Type, v.Backup.Spec.Target = v1alpha1.TypeSnapshot, ""
	v.Backup.Status.Document = names.PointSecret("point")
}

func snapRead(v *RestoreView) {
	ofSnapshot(v)
	marked(v)
	ok(v, OpReadDocument)
	v.Origin = &Origin{Disks: []OriginDisk{{Name: "root", Claim: "web2-root", SourceVolume: "v-root", Snapshot: "s-root", SizeBytes: 100, Replicas: 2}}}
	v.Inspected = map[string]int64{"root": 300}
}

func cloning(v *RestoreView) {
	snapRead(v)
	v.Restore.Status = Restore(*v).Status
	v.Volumes[names.Volume(uid, "root", 1)] = VolumeFact{UID: "vol", Owned: true, Created: now}
	v.Restore.Status = Restore(*v).Status
}

func cloned(change func(*v1alpha1.RestoreRecord)) func(*RestoreView) {
	return func(v *RestoreView) {
		cloning(v)
		d := v.Restore.Status.Disks[0]
		v.Replicas[d.Volume] = []string{"r0", "r1"}
		rec := &v1alpha1.RestoreRecord{Attempt: 1, VolumeUID: "vol", Snapshot: "s-root", Replicas: []v1alpha1.ReplicaRecord{
			{Name: "r0", Cloned: "s-root"}, {Name: "r1", Cloned: "s-root"},
		}}
		change(rec)
		j := newJob(kindClone, v1alpha1.ObjectReference{Kind: "VMRestore", Namespace: "ns", Name: "r1", UID: uid}, "root", 1, time.Minute)
		succeeded(&j.Status)
		j.Status.Record = rec
		v.Jobs = append(v.Jobs, *j)
	}
}

func TestRestoreOfSnapshot(t *testing.T) {
	for name, c := range map[string]struct {
		view        RestoreView
		phase       v1alpha1.RestorePhase
		ready, says string
		do          []string
	}{
		"begins without a target": {view: want(ofSnapshot), phase: "Pending", do: []string{"hold"}},
		"from another namespace": {
			view: want(ofSnapshot, func(v *RestoreView) { v.Restore.Spec.BackupNamespace, v.Backup.Namespace = "other", "other" }), phase: "Failed", ready: "False Refused",
			says: "spec.backupNamespace: VMBackup p1 is of type Snapshot, which can be restored in its own namespace other only", do: []string{"let go"},
		},
		"its own namespace, said in words": {
			view: want(ofSnapshot, func(v *RestoreView) { v.Restore.Spec.BackupNamespace, v.Backup.Namespace = "ns", "ns" }), phase: "Pending", do: []string{"hold"},
		},
		"lost": {
			view: want(ofSnapshot, func(v *RestoreView) { v.Backup.Status.Phase = v1alpha1.BackupDataLost }), phase: "Failed", ready: "False BackupNotReady",
			says: "is DataLost, not Ready", do: []string{"let go"},
		},
		"nothing is left to clone": {
			view: want(snapRead, func(v *RestoreView) {
				v.Origin.Refusals = []rules.Refusal{{Reason: rules.Refused, Sentence: "disk root: volume v-root was deleted"}}
			}), phase: "Pending", ready: "False Refused",
			says: "v-root was deleted", do: []string{"clean"},
		},
		"read":             {view: want(snapRead), phase: "Restoring", do: []string{"make Volume"}},
		"volume is there":  {view: want(cloning), phase: "Restoring", do: []string{"create clone-root-1"}},
		"record is right":  {view: want(cloned(func(*v1alpha1.RestoreRecord) {})), phase: "Building"},
		"of another one":   {view: want(cloned(func(r *v1alpha1.RestoreRecord) { r.Snapshot = "s-other" })), phase: "Restoring", do: []string{"make Volume", "delete volume"}},
		"one does not say": {view: want(cloned(func(r *v1alpha1.RestoreRecord) { r.Replicas[1].Cloned = "" })), phase: "Restoring", do: []string{"make Volume", "delete volume"}},
		"one is missing":   {view: want(cloned(func(r *v1alpha1.RestoreRecord) { r.Replicas = r.Replicas[:1] })), phase: "Restoring", do: []string{"make Volume", "delete volume"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Restore(c.view)
			require.Equal(t, c.phase, got.Status.Phase)
			require.Equal(t, c.ready, reason(got.Status.Conditions, v1alpha1.ConditionReady))
			require.Contains(t, message(got.Status.Conditions, v1alpha1.ConditionReady), c.says)
			require.Equal(t, c.do, toldRestore(got))
		})
	}
	d := Restore(want(snapRead)).Status.Disks[0]
	require.EqualValues(t, 300, d.SizeBytes, "as large as the source is now: an engine clones only into its like")
	require.Equal(t, "s-root", d.Snapshot)
	require.Equal(t, &v1alpha1.CloneJob{
		Disk: "root", Volume: names.Volume(uid, "root", 1), VolumeUID: "vol", SizeBytes: 300, Attempt: 1, SourceVolume: "v-root", Snapshot: "s-root",
	}, Restore(want(cloning)).CreateJobs[0].Spec.Clone)
	named := func(v *RestoreView) { v.Backup.Spec.VM = "web" }
	require.Equal(t, "web", Restore(want(cloning, named)).CreateJobs[0].Spec.VM, "whose start the clone gives way to")
}

// The source's VM may start and stop as often as it likes while it is cloned.
func TestInterruptedClones(t *testing.T) {
	wants := func(v *RestoreView) {
		cloning(v)
		for n := int32(1); n <= 4; n++ {
			j := newJob(kindClone, v1alpha1.ObjectReference{Kind: "VMRestore", Namespace: "ns", Name: "r1", UID: uid}, "root", n, time.Minute)
			failedJob(v1alpha1.ReasonVolumeWanted, true, time.Minute)(&j.Status)
			v.Jobs = append(v.Jobs, *j)
		}
		d := &v.Restore.Status.Disks[0]
		d.Attempt, d.Volume, d.VolumeUID = 4, names.Volume(uid, "root", 4), "vol"
		v.Volumes[d.Volume] = VolumeFact{UID: "vol", Owned: true, Created: now}
	}
	got := Restore(want(wants))
	require.Equal(t, v1alpha1.RestoreRestoring, got.Status.Phase)
	require.EqualValues(t, 5, got.Status.Disks[0].Attempt)
	got = Restore(want(wants, func(v *RestoreView) { v.Jobs[len(v.Jobs)-1].Status.Reason = v1alpha1.ReasonTransferLost }))
	require.EqualValues(t, 5, got.Status.Disks[0].Attempt, "the first failure of three")
}
