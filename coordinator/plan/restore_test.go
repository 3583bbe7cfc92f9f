package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

func TestRestore(t *testing.T) {
	rootVolume := names.Volume(uid, "root", 1)
	for name, c := range map[string]struct {
		view        RestoreView
		phase       v1alpha1.RestorePhase
		ready, says string
		do          []string
	}{
		"no backup":       {view: want(func(v *RestoreView) { v.Backup = nil }), phase: "Failed", ready: "False BackupNotFound", says: `"p1" in namespace ns`, do: []string{"let go"}},
		"backup deleting": {view: want(func(v *RestoreView) { v.Backup.DeletionTimestamp = ago(0) }), phase: "Failed", ready: "False BackupDeleting", do: []string{"let go"}},
		"backup not ready": {
			view:  want(func(v *RestoreView) { v.Backup.Status.Phase = "Uploading" }),
			phase: "Failed", ready: "False BackupNotReady", says: "is Uploading, not Ready", do: []string{"let go"},
		},
		"no target":      {view: want(func(v *RestoreView) { v.Target = nil }), phase: "Failed", ready: "False TargetNotFound", do: []string{"let go"}},
		"begins":         {view: want(), phase: "Pending", do: []string{"hold"}},
		"marked as read": {view: want(marked), phase: "Pending", do: []string{"start ReadDocument"}},
		"backup being deleted before it was marked as read": {
			view:  want(marked, func(v *RestoreView) { v.Backup.DeletionTimestamp = ago(0) }),
			phase: "Pending", ready: "False BackupDeleting", do: []string{"clean"},
		},
		"backup being deleted after it was marked as read": {
			view: want(hasRead, func(v *RestoreView) { v.Backup.DeletionTimestamp = ago(0) }), phase: "Pending", do: []string{"start InspectBackups"},
		},
		"backup made anew under its name": {
			view: want(hasRead, func(v *RestoreView) { v.Backup.UID = "another" }), phase: "Pending", ready: "False BackupNotFound", do: []string{"clean"},
		},
		"document damaged": {
			view: want(hasRead, func(v *RestoreView) {
				v.Work[Work{Op: OpReadDocument}] = WorkState{Ended: now, FirstFailed: now, Err: &WorkError{Reason: "Damaged", Message: "digest"}}
			}),
			phase: "Pending", ready: "False Damaged", says: "digest", do: []string{"clean"},
		},
		"cannot be made here": {
			view: want(hasRead, func(v *RestoreView) {
				v.Origin.Refusals = []rules.Refusal{{Reason: rules.NameTaken, Sentence: "VM web2 exists"}, {Reason: rules.Refused, Sentence: "no class x"}}
			}),
			phase: "Pending", ready: "False NameTaken", says: "VM web2 exists; no class x", do: []string{"clean"},
		},
		"read": {view: want(hasRead), phase: "Pending", do: []string{"start InspectBackups"}},
		"point deleted while it was restored": {
			view: want(restoringNow, func(v *RestoreView) { v.Backup, v.Target = nil, nil }), phase: "Restoring", ready: "False BackupNotFound", says: "deleted while it was being restored", do: []string{"drop jobs", "clean"},
		},
		"disks not whole": {
			view: want(inspected, func(v *RestoreView) {
				v.Work[Work{Op: OpInspectBackups}] = WorkState{Ended: now, FirstFailed: now, Err: &WorkError{Reason: "NotFound", Message: "b-root is gone"}}
			}),
			phase: "Pending", ready: "False NotFound", says: "b-root is gone", do: []string{"clean"},
		},
		"checked": {view: want(inspected), phase: "Restoring", do: []string{"make Volume", "make Volume"}},
		"volumes are there": {
			view:  want(restoringNow, func(v *RestoreView) { v.Jobs = nil }),
			phase: "Restoring", do: []string{"create restore-data-1", "create restore-root-1"},
		},
		"volume of somebody else": {
			view: want(restoringNow, func(v *RestoreView) {
				v.Volumes[rootVolume] = VolumeFact{UID: "x"}
			}),
			phase: "Restoring", ready: "False NameTaken", do: []string{"drop jobs", "clean"},
		},
		"restoring": {view: want(restoringNow), phase: "Restoring"},
		"new leader reads again": {
			view: want(restoringNow, func(v *RestoreView) { v.Work, v.Origin = Works{}, nil }), phase: "Restoring", do: []string{"start ReadDocument"},
		},
		"no room": {
			view: want(restoringNow, func(v *RestoreView) {
				v.Volumes[rootVolume] = VolumeFact{UID: v.Volumes[rootVolume].UID, Owned: true, Unschedulable: "insufficient storage", Created: now.Add(-time.Minute)}
			}),
			phase: "Restoring", ready: "False NoSpace", says: "insufficient storage", do: []string{"drop jobs", "clean"},
		},
		"no room yet": {
			view: want(restoringNow, func(v *RestoreView) {
				v.Volumes[rootVolume] = VolumeFact{UID: v.Volumes[rootVolume].UID, Owned: true, Unschedulable: "insufficient storage", Created: now}
			}),
			phase: "Restoring",
		},
		"volume vanished": {
			view: want(restoringNow, func(v *RestoreView) { delete(v.Volumes, rootVolume) }), phase: "Restoring", do: []string{"make Volume"},
		},
		"attempt failed, pausing": {
			view:  want(restoringNow, rjob("root", 1, failedJob("TransferLost", true, time.Second))),
			phase: "Restoring", do: []string{"delete volume"},
		},
		"attempt failed, next one": {
			view:  want(restoringNow, rjob("root", 1, failedJob("TransferLost", true, time.Minute))),
			phase: "Restoring", do: []string{"make Volume", "delete volume"},
		},
		"attempt failed for good": {
			view:  want(restoringNow, rjob("root", 1, failedJob("TargetError", false, 0))),
			phase: "Restoring", ready: "False TargetError", says: "disk root: words of the agent", do: []string{"drop jobs", "clean"},
		},
		"one disk restored": {view: want(restoringNow, whole("root", right)), phase: "Restoring"},
		"no record":         {view: want(restoringNow, rjob("root", 1, succeeded), func(v *RestoreView) { v.Replicas[rootVolume] = []string{"r0"} }), phase: "Restoring", do: []string{"make Volume", "delete volume"}},
		"replicas not read yet": {
			view: want(restoringNow, whole("root", right), func(v *RestoreView) { delete(v.Replicas, rootVolume) }), phase: "Restoring",
		},
		"replica not in the record": {
			view:  want(restoringNow, whole("root", func(r *v1alpha1.RestoreRecord) { r.Replicas = r.Replicas[:1] })),
			phase: "Restoring", do: []string{"make Volume", "delete volume"},
		},
		"replica that Longhorn does not have": {
			view:  want(restoringNow, whole("root", right), func(v *RestoreView) { v.Replicas[rootVolume] = []string{"r0"} }),
			phase: "Restoring", do: []string{"make Volume", "delete volume"},
		},
		"replica with another backup": {
			view:  want(restoringNow, whole("root", func(r *v1alpha1.RestoreRecord) { r.Replicas[1].LastRestored = "old" })),
			phase: "Restoring", do: []string{"make Volume", "delete volume"},
		},
		"record of another attempt": {
			view:  want(restoringNow, whole("root", func(r *v1alpha1.RestoreRecord) { r.Attempt = 2 })),
			phase: "Restoring", do: []string{"make Volume", "delete volume"},
		},
		"record of another volume": {
			view:  want(restoringNow, whole("root", func(r *v1alpha1.RestoreRecord) { r.VolumeUID = "x" })),
			phase: "Restoring", do: []string{"make Volume", "delete volume"},
		},
		"record of another backup": {
			view:  want(restoringNow, whole("root", func(r *v1alpha1.RestoreRecord) { r.Backup = "x" })),
			phase: "Restoring", do: []string{"make Volume", "delete volume"},
		},
		"every disk restored": {
			view: want(built), phase: "Building", do: []string{"make PersistentVolume", "make PersistentVolume"},
		},
		"claims wait until the volume controller has seen their volumes": {
			view: want(built, withVolumes(func(f *ObjectFact) { f.Created = now })), phase: "Building",
		},
		"claims when it has": {
			view: want(built, withVolumes(func(f *ObjectFact) { f.Created, f.Seen = now, true })), phase: "Building", do: []string{"make Claim", "make Claim"},
		},
		"claims when it never does": {
			view: want(built, withVolumes(func(f *ObjectFact) { f.Created = now.Add(-settleTime) })), phase: "Building", do: []string{"make Claim", "make Claim"},
		},
		"volume changed before it was given away": {
			view: want(built, func(v *RestoreView) { v.Volumes[rootVolume] = VolumeFact{UID: "x", Owned: true} }),
			// It would hold something else than what was recorded.
			phase: "Building", ready: "False VolumeChanged", do: []string{"drop jobs", "clean"},
		},
		"claim of somebody else": {
			view:  want(bound, func(v *RestoreView) { v.Made.Claims["web2-root"] = ObjectFact{Bound: true} }),
			phase: "Building", ready: "False NameTaken", says: "web2-root exists already", do: []string{"drop jobs", "clean"},
		},
		"claim not bound yet": {
			view:  want(bound, withVolumes(func(f *ObjectFact) { f.Seen = true }), unbound(now)),
			phase: "Building",
		},
		"claim left unbound": {
			view:  want(bound, withVolumes(func(f *ObjectFact) { f.Seen = true }), unbound(now.Add(-touchAfter))),
			phase: "Building", do: []string{"touch claim"},
		},
		"claim touched a moment ago": {
			view:  want(bound, unbound(now.Add(-3*touchAfter)), touchedClaim(now.Add(-touchAfter))),
			phase: "Building",
		},
		"claim touched as long ago as it had been waited for then": {
			view:  want(bound, unbound(now.Add(-4*touchAfter)), touchedClaim(now.Add(-2*touchAfter))),
			phase: "Building", do: []string{"touch claim"},
		},
		"secrets first": {view: want(bound, withSecrets), phase: "Building", do: []string{"start MakeSecrets"}},
		"secrets cannot be made": {
			view: want(bound, withSecrets, func(v *RestoreView) {
				v.Work[Work{Op: OpMakeSecrets}] = WorkState{Ended: now, FirstFailed: now, Err: &WorkError{Reason: "Mismatch", Message: "taken"}}
			}),
			phase: "Building", ready: "False Mismatch", do: []string{"drop jobs", "clean"},
		},
		"volumes of failed attempts go before the VM comes": {
			view: want(bound, func(v *RestoreView) { v.Stale = []DeleteVolume{{Name: "old", UID: "x"}} }), phase: "Building", do: []string{"delete volume"},
		},
		"VM last": {view: want(bound), phase: "Building", do: []string{"make VirtualMachine"}},
		"the cluster refuses the VM": {
			view:  want(bound, func(v *RestoreView) { v.Refused = "VirtualMachine web2: exceeded quota" }),
			phase: "Building", ready: "False Refused", says: "exceeded quota", do: []string{"drop jobs", "clean"},
		},
		"VM of somebody else": {
			view: want(bound, func(v *RestoreView) { v.Made.VM = &ObjectFact{UID: "x"} }), phase: "Building", ready: "False NameTaken", do: []string{"drop jobs", "clean"},
		},
		"VM is there": {
			view: want(bound, func(v *RestoreView) { v.Made.VM = &ObjectFact{UID: "x", Owned: true} }), phase: "Ready", ready: "True Complete", do: []string{"drop jobs", "let go"},
		},
		"takes too long": {
			view: want(restoringNow, func(v *RestoreView) { v.Now = now.Add(25 * time.Hour) }), phase: "Restoring", ready: "False DeadlineExceeded", do: []string{"drop jobs", "clean"},
		},
		"failing": {view: want(badRestore), phase: "Restoring", ready: "False TargetError", do: []string{"drop jobs", "clean"}},
		"failing, shown as Failed after a while": {
			view: want(badRestore, func(v *RestoreView) { v.Now = now.Add(time.Minute) }), phase: "Failed", ready: "False TargetError", do: []string{"drop jobs", "clean"},
		},
		"failed, all gone": {
			view: want(badRestore, func(v *RestoreView) { v.Jobs, v.Cleaned = nil, true }), phase: "Failed", ready: "False TargetError", do: []string{"let go"},
		},
		"deleted before anything was done": {view: want(func(v *RestoreView) { v.Restore.DeletionTimestamp = ago(0) }), do: []string{"let go"}},
		"deleted while restoring": {
			view: want(restoringNow, func(v *RestoreView) { v.Restore.DeletionTimestamp = ago(0) }), phase: "Deleting", do: []string{"drop jobs", "clean"},
		},
		"deleted, all gone": {
			view: want(restoringNow, func(v *RestoreView) { v.Restore.DeletionTimestamp = ago(0); v.Jobs, v.Cleaned = nil, true }), phase: "Restoring", do: []string{"let go"},
		},
		"deleted when Ready, the VM stays": {
			view: want(bound, func(v *RestoreView) {
				v.Made.VM = &ObjectFact{UID: "x", Owned: true}
				v.Restore.Status = Restore(*v).Status
				v.Restore.DeletionTimestamp, v.Jobs = ago(0), nil
			}),
			phase: "Ready", ready: "True Complete", do: []string{"let go"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.view.Restore.DeepCopy()
			got := Restore(c.view)
			require.Equal(t, c.phase, got.Status.Phase)
			require.Equal(t, c.ready, reason(got.Status.Conditions, v1alpha1.ConditionReady))
			require.Contains(t, message(got.Status.Conditions, v1alpha1.ConditionReady), c.says)
			require.Equal(t, c.do, toldRestore(got))
			require.Equal(t, before, c.view.Restore, "the view is left alone")
			require.Equal(t, got, Restore(c.view), "the same view gives the same intent")
		})
	}
}

func TestFreshVolume(t *testing.T) {
	in := Restore(want(inspected))
	root, data := in.Create[0].(*unstructured.Unstructured), in.Create[1].(*unstructured.Unstructured)
	require.Equal(t, names.Volume(uid, "root", 1), root.GetName())
	require.Equal(t, map[string]string{v1alpha1.LabelRestore: string(uid)}, root.GetLabels())
	require.Equal(t, map[string]any{
		"size": "100", "frontend": "blockdev", "numberOfReplicas": int64(2), "accessMode": "rwx", "migratable": true,
		"dataEngine": "v1", "staleReplicaTimeout": int64(30), "revisionCounterDisabled": true,
	}, root.Object["spec"])
	require.Equal(t, "300", data.Object["spec"].(map[string]any)["size"], "what the backup needs, not what the disk had")
	require.Equal(t, "img", data.Object["spec"].(map[string]any)["backingImage"])
	require.Equal(t, []string{"a note"}, in.Status.Notes)
}

func TestNextAttemptIsInAFreshVolume(t *testing.T) {
	in := Restore(want(restoringNow, rjob("root", 1, failedJob("TransferLost", true, time.Hour))))
	require.EqualValues(t, 2, in.Status.Disks[0].Attempt)
	require.Equal(t, names.Volume(uid, "root", 2), in.Status.Disks[0].Volume)
	require.Empty(t, in.Status.Disks[0].VolumeUID)
	require.Equal(t, names.Volume(uid, "root", 1), in.DeleteVolumes[0].Name)
	require.EqualValues(t, "uid-of-"+names.Volume(uid, "root", 1), in.DeleteVolumes[0].UID)
}

// withVolumes: the PersistentVolumes exist, but no claim does.
func withVolumes(change func(*ObjectFact)) func(*RestoreView) {
	return func(v *RestoreView) {
		for _, d := range v.Restore.Status.Disks {
			f := ObjectFact{Owned: true}
			change(&f)
			v.Made.Volumes[d.Volume] = f
		}
	}
}

// unbound: the claim of one disk is not bound.
func unbound(created time.Time) func(*RestoreView) {
	return func(v *RestoreView) {
		v.Made.Claims["web2-root"] = ObjectFact{Owned: true, Created: created}
	}
}

// The next touch may be hours away, and the deadline is not.
func TestUnboundClaimDoesNotDelayTheDeadline(t *testing.T) {
	in := Restore(want(bound, unbound(now.Add(-10*time.Hour)), touchedClaim(now.Add(-time.Minute))))
	require.Empty(t, in.TouchClaims)
	require.Equal(t, touchAfter, in.After)
}

// touchedClaim: that claim was touched at a time.
func touchedClaim(at time.Time) func(*RestoreView) {
	return func(v *RestoreView) {
		f := v.Made.Claims["web2-root"]
		f.Touched = at
		v.Made.Claims["web2-root"] = f
	}
}

func TestPersistentVolume(t *testing.T) {
	v := want(built)
	v.Origin.Disks[0].StorageClass = "longhorn"
	v.Origin.Disks[0].ReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	v.Origin.Disks[0].VolumeMode = corev1.PersistentVolumeBlock
	pv := Restore(v).Create[0].(*corev1.PersistentVolume)
	require.Equal(t, names.Volume(uid, "root", 1), pv.Spec.CSI.VolumeHandle)
	require.Equal(t, "longhorn", pv.Spec.StorageClassName)
	require.Equal(t, corev1.PersistentVolumeReclaimRetain, pv.Spec.PersistentVolumeReclaimPolicy)
	require.Equal(t, "web2-root", pv.Spec.ClaimRef.Name)
	require.Equal(t, "ns", pv.Spec.ClaimRef.Namespace)
	require.Empty(t, pv.Spec.CSI.FSType, "a raw block volume has no filesystem")
	require.Equal(t, map[string]string{provisionedBy: rules.Driver}, pv.Annotations)
	require.Equal(t, "true", pv.Spec.CSI.VolumeAttributes["migratable"])
}

// What a leader knows of its own goes with it. The next one may be killed at its
// first write, and the one after that: so it writes nothing that only informs
// before it does something.
func TestNewLeaderOfARestoreTellsNothingFirst(t *testing.T) {
	for name, stage := range map[string]func(*RestoreView){
		"reading": marked, "checking": hasRead, "restoring": restoringNow, "building": built, "making the VM": bound,
	} {
		t.Run(name, func(t *testing.T) {
			v := want(stage)
			v.Restore.Status = Restore(v).Status
			v.Work, v.Origin, v.Inspected = Works{}, nil, nil
			out := Restore(v)
			require.True(t, out.Cosmetic || equality.Semantic.DeepEqual(v.Restore.Status, out.Status), "it says %q after %q",
				message(out.Status.Conditions, v1alpha1.ConditionProgressing), message(v.Restore.Status.Conditions, v1alpha1.ConditionProgressing))
		})
	}
}
