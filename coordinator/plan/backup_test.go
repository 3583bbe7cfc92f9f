package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

func TestBackup(t *testing.T) {
	for name, c := range map[string]struct {
		view  BackupView
		phase v1alpha1.BackupPhase
		// ready is status and reason of the condition Ready.
		ready, says string
		do          []string
		after       time.Duration
		cosmetic    bool
	}{
		// Refusals: nothing was done, so nothing is held or cleaned.
		"unknown target": {
			view:  look(func(v *BackupView) { v.Target = nil }),
			phase: "Failed", ready: "False TargetNotFound", says: `no BackupTarget "s3"`, do: []string{"let go"},
		},
		"target is being deleted": {
			view:  look(func(v *BackupView) { v.Target.DeletionTimestamp = ago(0) }),
			phase: "Failed", ready: "False TargetNotReady", says: "being deleted", do: []string{"let go"},
		},
		"no VM": {
			view:  look(func(v *BackupView) { v.Source = nil }),
			phase: "Failed", ready: "False Refused", says: `no VirtualMachine "web" in namespace ns`, do: []string{"let go"},
		},
		"every refusal is told": {
			view:  look(func(v *BackupView) { v.Source.Refusals = []string{"disk a is odd", "disk b is odder"} }),
			phase: "Failed", ready: "False Refused", says: "disk a is odd; disk b is odder", do: []string{"let go"},
		},
		"target fails for good": {
			view: look(func(v *BackupView) {
				v.Probe = Probe{Known: true, Failures: 1, Err: &WorkError{Reason: "BucketNotFound", Message: "no bucket"}}
			}),
			phase: "Failed", ready: "False TargetNotReady", says: "BucketNotFound: no bucket", do: []string{"let go"},
		},
		"target fails, perhaps not for long": {
			view: look(func(v *BackupView) {
				v.Probe = Probe{Known: true, Failures: 1, Err: &WorkError{Reason: "Unreachable", Message: "refused", Transient: true}}
			}),
			phase: "Pending", do: []string{"probe"}, cosmetic: true,
		},
		"target goes on failing": {
			view: look(func(v *BackupView) {
				v.Probe = Probe{Known: true, Failures: 2, Err: &WorkError{Reason: "Unreachable", Message: "refused", Transient: true}}
			}),
			phase: "Failed", ready: "False TargetNotReady", says: "Unreachable: refused", do: []string{"let go"},
		},
		// Limits.
		"over the limit": {
			view:  look(func(v *BackupView) { v.Space = Space{ExpectedBytes: 5, Refusals: []string{"too much", "far too much"}} }),
			phase: "Failed", ready: "False QuotaExceeded", says: "too much; far too much", do: []string{"let go"},
		},
		// Cancelling.
		"cancelled before it began": {view: look(cancelled), phase: "Failed", ready: "False Cancelled", says: "cancelled (spec.cancel)", do: []string{"let go"}},
		"cancelled while cutting": {
			view:  look(wasStarted, job(kindCut, "", 1, unclaimed), cancelled),
			phase: "Cutting", ready: "False Cancelled", do: []string{"delete cut-1"}, after: 30 * time.Second,
		},
		"cancelled while uploading waits for what runs": {
			view:  look(cut, job(kindBackup, "root", 1, running), job(kindBackup, "data", 1, succeeded), cancelled),
			phase: "Uploading", ready: "False Cancelled", after: 30 * time.Second,
		},
		"cancelled when all is over": {view: look(isReady, cancelled), phase: "Ready", ready: "True Complete"},
		// Waiting before anything is done.
		"no fresh probe": {view: look(func(v *BackupView) { v.Probe = Probe{} }), phase: "Pending", do: []string{"probe"}, cosmetic: true},
		"VM is being migrated": {
			view:  look(func(v *BackupView) { v.Source.Wait = "volume v-root is being live-migrated" }),
			phase: "Pending", do: nil, after: 2 * time.Second, cosmetic: true,
		},
		// The way of a point.
		"begins":          {view: look(), phase: "Cutting", do: []string{"create cut-1", "hold", "start Capture"}},
		"cut not claimed": {view: look(wasStarted, job(kindCut, "", 1, unclaimed)), phase: "Cutting", cosmetic: true, after: lookAgain},
		"cut runs":        {view: look(wasStarted, job(kindCut, "", 1, running)), phase: "Cutting", cosmetic: true},
		"new leader while cutting": {
			view: look(wasStarted, job(kindCut, "", 1, running), func(v *BackupView) { v.Work = Works{} }), phase: "Cutting", do: []string{"start Capture"}, cosmetic: true,
		},
		"cut job vanished": {view: look(wasStarted), phase: "Cutting", do: []string{"create cut-1"}},
		"cut done":         {view: look(wasStarted, job(kindCut, "", 1, cutDone)), phase: "Uploading", do: []string{"create backup-data-1", "create backup-root-1"}},
		"cut failed": {
			view:  look(wasStarted, job(kindCut, "", 1, failedJob("CutWindowExceeded", true, 0))),
			phase: "Cutting", ready: "False CutWindowExceeded", says: "words of the agent", do: []string{"start DeletePoint 0"}, after: 30 * time.Second,
		},
		"cut overdue": {
			view: look(wasStarted, job(kindCut, "", 1, func(s *v1alpha1.NodeJobStatus) { running(s); s.ClaimedAt = ago(10 * time.Minute) })),
			// Deleted first, and looked at once more.
			phase: "Cutting", ready: "False DeadlineExceeded", says: "does not report", do: []string{"delete cut-1"}, after: 30 * time.Second,
		},
		"cut without a snapshot of a disk": {
			view: look(wasStarted, job(kindCut, "", 1, func(s *v1alpha1.NodeJobStatus) { cutDone(s); delete(s.Cut.Snapshots, "data") })),
			// Both may have been cut: both are removed, also those of cut 1.
			phase: "Cutting", ready: "False InvalidJob", says: "disk data",
			do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 0"}, after: 30 * time.Second,
		},
		"capture fails for good": {
			view:  look(wasStarted, job(kindCut, "", 1, running), work(OpCapture, "", bad(false, 0))),
			phase: "Cutting", ready: "False Unreachable", says: "could not be written to target s3: connection refused", after: 30 * time.Second,
		},
		"capture fails for now": {
			view: look(wasStarted, job(kindCut, "", 1, running), work(OpCapture, "", bad(true, time.Second))), phase: "Cutting", after: time.Second, cosmetic: true,
		},
		"capture failed long enough": {
			view:  look(wasStarted, job(kindCut, "", 1, running), work(OpCapture, "", bad(true, time.Hour))),
			phase: "Cutting", ready: "False Unreachable", after: 30 * time.Second,
		},
		"uploading": {view: look(cut, job(kindBackup, "root", 1, running), job(kindBackup, "data", 1, unclaimed)), phase: "Uploading", cosmetic: true, after: lookAgain},
		"new leader while uploading captures nothing": {
			view:  look(cut, job(kindBackup, "root", 1, running), job(kindBackup, "data", 1, unclaimed), func(v *BackupView) { v.Work = Works{} }),
			phase: "Uploading", cosmetic: true, after: lookAgain,
		},
		"one disk is in": {view: look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, running)), phase: "Uploading", cosmetic: true},
		"attempt lost, pausing": {
			view:  look(cut, job(kindBackup, "root", 1, failedJob("TransferLost", true, time.Second)), job(kindBackup, "data", 1, running), looked("root", 1, "NotFound")),
			phase: "Uploading", do: []string{"start DropAttempt a1-root"}, after: 4 * time.Second, cosmetic: true,
		},
		"attempt lost, next one": {
			view:  look(cut, job(kindBackup, "root", 1, failedJob("TransferLost", true, 5*time.Second)), job(kindBackup, "data", 1, running), looked("root", 1, "InProgress")),
			phase: "Uploading", do: []string{"create backup-root-2", "start DropAttempt a1-root"},
		},
		"attempt failed for good": {
			view:  look(cut, job(kindBackup, "root", 1, failedJob("SnapshotMissing", false, 0)), job(kindBackup, "data", 1, unclaimed)),
			phase: "Uploading", ready: "False SnapshotMissing", says: "disk root: words of the agent", do: []string{"delete backup-data-1"}, after: 30 * time.Second,
		},
		"last attempt failed": {
			view: look(cut, func(v *BackupView) {
				v.Backup.Status.Disks[0].Attempt = 3
			}, job(kindBackup, "root", 3, failedJob("TargetError", true, time.Hour)), job(kindBackup, "data", 1, running)),
			phase: "Uploading", ready: "False TargetError", says: "(attempt 3 of 3)", after: 30 * time.Second,
		},
		"all in": {
			view:  look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, succeeded)),
			phase: "Verifying", do: []string{"start Finalize"}, cosmetic: true,
		},
		"all in, capture still runs": {
			view:  look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, succeeded), work(OpCapture, "", WorkState{Running: true})),
			phase: "Verifying", cosmetic: true,
		},
		"all in, a failed attempt is dropped first": {
			view: look(cut, func(v *BackupView) { v.Backup.Status.Disks[0].Attempt = 2 },
				job(kindBackup, "root", 1, failedJob("TransferLost", true, time.Minute)),
				job(kindBackup, "root", 2, succeeded), job(kindBackup, "data", 1, succeeded)),
			phase: "Verifying", do: []string{"start DropAttempt a1-root"}, cosmetic: true,
		},
		"the engine said complete too early": {
			view: look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, succeeded), finalized, func(v *BackupView) {
				for w := range v.Work {
					if w.Op == OpFinalize {
						v.Work[w] = WorkState{Tries: 2, Ended: now, FirstFailed: now, Err: &WorkError{Reason: "InProgress", Message: "root is not complete", Transient: true}}
					}
				}
			}),
			phase: "Verifying", after: 2 * time.Second, cosmetic: true,
		},
		"new leader, nothing captured": {
			view: look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, succeeded), func(v *BackupView) {
				arg := "false," + names.Backup(uid, "root", 1) + "," + names.Backup(uid, "data", 1)
				v.Work = Works{{Op: OpFinalize, Arg: arg}: {Tries: 1, Ended: now, FirstFailed: now, Err: &WorkError{Reason: "NotFound", Message: "no draft"}}}
			}),
			phase: "Verifying", do: []string{"start Capture"}, cosmetic: true,
		},
		"whole": {
			view:  look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, succeeded), finalized),
			phase: "Ready", ready: "True Complete", do: []string{"drop jobs"},
		},
		// The VM is deleted meanwhile.
		"VM and claims deleted before the cut": {
			view:  look(wasStarted, job(kindCut, "", 1, failedJob("VolumeGone", false, 0)), volumesGone("v-root", "v-data")),
			phase: "Cutting", ready: "False SourceDeleted", says: "VM web, or claim c-root or c-data of it, was deleted meanwhile: words of the agent",
			do: []string{"start DeletePoint 0"}, after: 30 * time.Second,
		},
		"claim deleted before the cut, and the engine was lost first": {
			view:  look(wasStarted, job(kindCut, "", 1, failedJob("EngineUnavailable", true, 0)), volumesGone("v-data")),
			phase: "Cutting", ready: "False SourceDeleted", says: "VM web, or claim c-data of it, was deleted", do: []string{"start DeletePoint 0"}, after: 30 * time.Second,
		},
		"VM deleted before it was captured": {
			view: look(wasStarted, job(kindCut, "", 1, unclaimed), work(OpCapture, "", WorkState{
				Tries: 1, Ended: now, FirstFailed: now, Err: &WorkError{Reason: "NotFound", Message: "no such VM"},
			})),
			phase: "Cutting", ready: "False SourceDeleted", says: "deleted before its definition was written to target s3: no such VM", do: []string{"delete cut-1"}, after: 30 * time.Second,
		},
		"VM deleted during the upload, the agent knows first": {
			view:  look(cut, job(kindBackup, "root", 1, failedJob("VolumeGone", false, 0)), job(kindBackup, "data", 1, unclaimed)),
			phase: "Uploading", ready: "False SourceDeleted", says: "disk root: VM web, or claim c-root of it, was deleted", do: []string{"delete backup-data-1"}, after: 30 * time.Second,
		},
		"VM deleted during the upload, which was lost": {
			view:  look(cut, job(kindBackup, "root", 1, failedJob("TransferLost", true, time.Hour)), job(kindBackup, "data", 1, unclaimed), looked("root", 1, "InProgress"), volumesGone("v-root", "v-data")),
			phase: "Uploading", ready: "False SourceDeleted", do: []string{"delete backup-data-1"}, after: 30 * time.Second,
		},
		"VM deleted when all is on the target": {
			view:  look(cut, job(kindBackup, "root", 1, failedJob("TransferLost", true, time.Hour)), job(kindBackup, "data", 1, succeeded), looked("root", 1, ""), volumesGone("v-root", "v-data")),
			phase: "Verifying", do: []string{"start Finalize"}, cosmetic: true,
		},
		"takes too long": {
			view:  look(cut, job(kindBackup, "root", 1, running), job(kindBackup, "data", 1, running), func(v *BackupView) { v.Now = now.Add(25 * time.Hour) }),
			phase: "Uploading", ready: "False DeadlineExceeded", says: "not done within 24h", after: 30 * time.Second,
			// Their agents do not report any more; what they left goes next.
			do: []string{"delete backup-data-1", "delete backup-root-1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.view.Backup.DeepCopy()
			got := Backup(c.view)
			require.Equal(t, c.phase, got.Status.Phase)
			require.Equal(t, c.ready, reason(got.Status.Conditions, v1alpha1.ConditionReady))
			require.Contains(t, message(got.Status.Conditions, v1alpha1.ConditionReady), c.says)
			require.Equal(t, c.do, told(got.Actions))
			require.Equal(t, c.after, got.After)
			require.Equal(t, c.cosmetic, got.Cosmetic)
			require.NotEmpty(t, message(got.Status.Conditions, v1alpha1.ConditionProgressing), "it always says what is going on")
			require.Equal(t, before, c.view.Backup, "the view is left alone")
			require.Equal(t, got, Backup(c.view), "the same view gives the same intent")
		})
	}
}

func TestBackupRecordsTheCut(t *testing.T) {
	st := Backup(look(wasStarted, job(kindCut, "", 1, cutDone))).Status
	require.EqualValues(t, 2, *st.CutWindowMilliseconds, "rounded up")
	require.Equal(t, []v1alpha1.HookStatus{{Hook: "pre", Message: "ended well after 1s"}}, st.Hooks)
	require.Equal(t, now, st.CutAt.Time)
	require.Equal(t, names.Snapshot(uid, 2, "root"), st.Disks[0].Snapshot)
	require.Equal(t, names.Backup(uid, "root", 1), st.Disks[0].Backup)
	require.EqualValues(t, "vm-uid", st.SourceUID)
}

func TestBackupJobHoldsWhatTheAgentNeeds(t *testing.T) {
	v := look(func(v *BackupView) {
		v.Source.Disks[0].BackingImage = &v1alpha1.BackingImage{Name: "img", Checksum: "c"}
	})
	v.Backup.Status = Backup(v).Status
	job(kindCut, "", 1, cutDone)(&v)
	jobs := Backup(v).CreateJobs
	require.Len(t, jobs, 2)
	require.Equal(t, &v1alpha1.BackupJob{
		Disk: "root", Volume: "v-root", Snapshot: names.Snapshot(uid, 2, "root"), Backup: names.Backup(uid, "root", 1), Target: "s3",
		BackingImage: &v1alpha1.BackingImage{Name: "img", Checksum: "c"},
		Labels:       map[string]string{v1alpha1.LabelPoint: string(uid), v1alpha1.LabelVM: "ns/web"},
	}, jobs[0].Spec.Backup)
	require.Equal(t, string(uid), jobs[0].Labels[v1alpha1.LabelPoint])
	require.EqualValues(t, 24*3600, jobs[0].Spec.DeadlineSeconds)
}

func TestNextAttemptHasANewName(t *testing.T) {
	v := look(cut, job(kindBackup, "root", 1, failedJob("TargetError", true, time.Hour)), job(kindBackup, "data", 1, running))
	in := Backup(v)
	require.Equal(t, names.Backup(uid, "root", 2), in.CreateJobs[0].Spec.Backup.Backup)
	require.Equal(t, names.Snapshot(uid, 2, "root"), in.CreateJobs[0].Spec.Backup.Snapshot, "of the same snapshot")
	require.EqualValues(t, 2, in.Status.Disks[0].Attempt)
	require.False(t, in.Cosmetic, "the attempt is recorded before its job is made")
}

func TestReadyPointTellsOfItsSecrets(t *testing.T) {
	v := look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, succeeded), finalized)
	v.Finalized.Secrets = 2
	st := Backup(v).Status
	require.Contains(t, message(st.Conditions, v1alpha1.ConditionReady), "2 Secrets, which are not encrypted")
	require.EqualValues(t, 7, *st.Disks[0].UploadedBytes)
	require.True(t, st.Disks[0].Incremental)
	require.Equal(t, "100%", st.ProgressText)
}

func TestProgressIsSummedUp(t *testing.T) {
	progress := func(done, all int64) func(*v1alpha1.NodeJobStatus) {
		return func(s *v1alpha1.NodeJobStatus) {
			running(s)
			s.Transfer = &v1alpha1.TransferStatus{Started: true, Progress: &v1alpha1.Progress{BytesDone: done, BytesTotal: all}}
		}
	}
	st := Backup(look(cut, job(kindBackup, "root", 1, progress(50, 100)), job(kindBackup, "data", 1, progress(32, 100)))).Status
	require.Equal(t, &v1alpha1.Progress{BytesDone: 82, BytesTotal: 200}, st.Progress)
	require.Equal(t, "41%", st.ProgressText)

	moved := func(disk string) func(*BackupView) {
		return job(kindBackup, disk, 1, func(s *v1alpha1.NodeJobStatus) {
			progress(100, 100)(s)
			s.State = v1alpha1.JobSucceeded
		})
	}
	st = Backup(look(cut, moved("root"), moved("data"))).Status
	require.Equal(t, &v1alpha1.Progress{BytesDone: 200, BytesTotal: 200}, st.Progress)
	require.Equal(t, "99%", st.ProgressText, "nobody has looked yet whether it is on the target")
}
