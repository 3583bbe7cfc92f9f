package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// reclaimed: the uploads are gone from the target.
var reclaimed = work(OpDeletePoint, "", WorkState{Tries: 1, Ended: now})

func TestBackupEnd(t *testing.T) {
	later := func(volumes ...string) func(*BackupView) {
		return func(v *BackupView) {
			n := v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Name: "p2", UID: "later"}}
			n.Status.CompletedAt = ago(48 * time.Hour)
			for _, volume := range volumes {
				n.Status.Disks = append(n.Status.Disks, v1alpha1.BackupDisk{Name: volume, Volume: volume})
			}
			v.Newer = append(v.Newer, n)
		}
	}
	lately := func(v *BackupView) { v.Newer[0].Status.CompletedAt = ago(time.Hour) }
	removedRoot := func(v *BackupView) { v.Newer[0].Status.Disks[0].Superseded = []string{names.Snapshot(uid, 2, "root")} }
	for name, c := range map[string]struct {
		view        BackupView
		phase       v1alpha1.BackupPhase
		progressing string
		says        string
		do          []string
	}{
		"failing: a running transfer is waited for": {
			view:  look(isFailing, job(kindBackup, "data", 1, running)),
			phase: "Uploading", progressing: "True CleaningUp", says: "waiting for jobs that run to end",
		},
		"failing: shown as Failed after a while, the clean-up goes on": {
			view: look(isFailing, job(kindBackup, "data", 1, running), func(v *BackupView) {
				v.Now = now.Add(31 * time.Second)
			}),
			phase: "Failed", progressing: "True CleaningUp",
		},
		"failing: jobs ended": {
			view:  look(isFailing),
			phase: "Uploading", progressing: "True CleaningUp",
			do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 2"},
		},
		"failing: snapshots gone, uploads not": {
			view:  look(isFailing, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, succeeded), work(OpDeletePoint, "", bad(false, time.Hour))),
			phase: "Uploading", progressing: "True CleaningUp", says: "connection refused; trying again",
		},
		"failing: uploads gone, a snapshot not": {
			view:  look(isFailing, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, running), reclaimed),
			phase: "Uploading", progressing: "True CleaningUp", says: "removing engine snapshots of disk data",
		},
		"failing: removal tried again": {
			view:  look(isFailing, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, failedJob("EngineUnavailable", true, time.Minute)), reclaimed),
			phase: "Uploading", progressing: "True CleaningUp", do: []string{"create remove-data-2"},
		},
		"failing: removal given up": {
			view: look(isFailing, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, failedJob("x", true, 0)),
				job(kindRemove, "data", 2, failedJob("x", true, 0)), job(kindRemove, "data", 3, failedJob("x", true, 0)), reclaimed),
			phase: "Failed", progressing: "False CleanUpGivenUp", says: "left behind", do: []string{"drop jobs", "let go"},
		},
		"failing: all gone": {
			view:  look(isFailing, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, succeeded), reclaimed),
			phase: "Failed", progressing: "False CleanedUp", do: []string{"drop jobs", "let go"},
		},
		"failing: its volumes are gone": {
			view:  look(isFailing, reclaimed, func(v *BackupView) { v.Gone["v-root"], v.Gone["v-data"] = true, true }),
			phase: "Failed", progressing: "False CleanedUp", do: []string{"drop jobs", "let go"},
		},
		"failing: its target is gone": {
			view:  look(isFailing, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, succeeded), func(v *BackupView) { v.Target = nil }),
			phase: "Uploading", progressing: "True CleaningUp", says: "set spec.deletionPolicy to Retain",
		},
		"failed: done with it": {
			view: look(isFailing, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, succeeded), reclaimed, func(v *BackupView) {
				v.Backup.Status = Backup(*v).Status
				v.Jobs, v.Work = nil, Works{}
			}),
			phase: "Failed", progressing: "False CleanedUp", do: []string{"let go"},
		},

		"ready: nothing to do": {view: look(isReady), phase: "Ready", progressing: "False Complete"},
		"ready: leftover jobs of a former leader": {
			view: look(isReady, job(kindBackup, "root", 1, succeeded)), phase: "Ready", progressing: "False Complete", do: []string{"drop jobs"},
		},
		"ready: a newer point has its volumes, the next backup is waited for": {
			view: look(isReady, later("v-root", "v-data"), lately), phase: "Ready", progressing: "False Complete",
		},
		"ready: a newer point's backup removed one, the other waits": {
			view: look(isReady, later("v-root", "v-data"), lately, removedRoot), phase: "Ready", progressing: "False Complete",
		},
		"ready: a newer point's backup removed one, the other waited long": {
			view:  look(isReady, later("v-root", "v-data"), removedRoot),
			phase: "Ready", progressing: "False Complete", do: []string{"create remove-data-1"},
		},
		"ready: a newer point has had one of its volumes for long": {
			view: look(isReady, later("v-root")), phase: "Ready", progressing: "False Complete", do: []string{"create remove-root-1"},
		},
		"ready: a newer point of other volumes": {view: look(isReady, later("v-x")), phase: "Ready", progressing: "False Complete"},
		"ready: superseded, removed": {
			view:  look(isReady, later("v-root", "v-data"), job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, succeeded)),
			phase: "Ready", progressing: "False Complete", do: []string{"drop jobs"},
		},
		"ready: superseded, one removal runs": {
			view:  look(isReady, later("v-root", "v-data"), job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, running)),
			phase: "Ready", progressing: "False Complete",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Backup(c.view)
			require.Equal(t, c.phase, got.Status.Phase)
			require.Equal(t, c.progressing, reason(got.Status.Conditions, v1alpha1.ConditionProgressing))
			require.Contains(t, message(got.Status.Conditions, v1alpha1.ConditionProgressing), c.says)
			require.Equal(t, c.do, told(got.Actions))
			require.Equal(t, got, Backup(c.view), "the same view gives the same intent")
		})
	}
}

func TestEveryCutIsRemoved(t *testing.T) {
	in := Backup(look(isReady, deleting))
	require.Equal(t, []string{names.Snapshot(uid, 1, "root"), names.Snapshot(uid, 2, "root")}, in.CreateJobs[0].Spec.RemoveSnapshots.Snapshots)
}

func TestEveryAttemptIsReclaimed(t *testing.T) {
	v := look(isReady, deleting)
	v.Backup.Status.Disks[0].Attempt = 3
	for _, o := range Backup(v).Start {
		if o.Op == OpDeletePoint {
			require.Equal(t, []BackupRef{
				{"v-root", names.Backup(uid, "root", 1)},
				{"v-root", names.Backup(uid, "root", 2)},
				{"v-root", names.Backup(uid, "root", 3)},
				{"v-data", names.Backup(uid, "data", 1)},
			}, o.Backups)
			return
		}
	}
	t.Fatal("no DeletePoint")
}

func TestCauseStaysTheFirst(t *testing.T) {
	v := look(isFailing, job(kindRemove, "root", 1, failedJob("EngineError", false, 0)), work(OpDeletePoint, "", bad(false, 0)))
	require.Equal(t, "disk root: words of the agent", message(Backup(v).Status.Conditions, v1alpha1.ConditionReady))
}

func TestSnapshotsRemovedByALaterBackupAreNotLookedForAgain(t *testing.T) {
	v := look(isReady, func(v *BackupView) {
		n := v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Name: "p2", UID: "later"}}
		n.Status.CompletedAt = ago(time.Hour)
		n.Status.Disks = []v1alpha1.BackupDisk{
			{Name: "root", Volume: "v-root", Superseded: []string{names.Snapshot(uid, 1, "root"), names.Snapshot(uid, 2, "root")}},
			{Name: "data", Volume: "v-data"},
		}
		v.Newer = []v1alpha1.VMBackup{n}
	})
	in := Backup(v)
	require.Empty(t, in.Status.Disks[0].Snapshot)
	require.NotEmpty(t, in.Status.Disks[1].Snapshot)
	require.Equal(t, 47*time.Hour, in.After, "then it gets a job of its own")

	v.Newer[0].Status.CompletedAt = ago(48 * time.Hour)
	v.Gone["v-data"] = true
	require.Empty(t, Backup(v).Status.Disks[1].Snapshot)
}

// earlier is a Ready point that was cut some time before the one that is looked
// at; cuts are the cut numbers of its disks.
func earlier(name types.UID, before time.Duration, cuts map[string]int32) v1alpha1.VMBackup {
	b := v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Name: string(name), UID: name}}
	at := metav1.NewMicroTime(now.Add(-before))
	b.Status.Phase, b.Status.CutAt = v1alpha1.BackupReady, &at
	for _, disk := range []string{"root", "data"} {
		if n, has := cuts[disk]; has {
			d := v1alpha1.BackupDisk{Name: disk, Volume: "v-" + disk}
			if n > 0 {
				d.Snapshot = names.Snapshot(name, n, disk)
			}
			b.Status.Disks = append(b.Status.Disks, d)
		}
	}
	return b
}

func TestABackupTakesSupersededSnapshotsAlong(t *testing.T) {
	const a, b, c, d = types.UID("a"), types.UID("b"), types.UID("c"), types.UID("d")
	for name, tc := range map[string]struct {
		earlier    []v1alpha1.VMBackup
		root, data []string
	}{
		"no earlier point": {},
		"one is the base":  {earlier: []v1alpha1.VMBackup{earlier(a, time.Hour, map[string]int32{"root": 1, "data": 1})}},
		"of two the newest": {
			earlier: []v1alpha1.VMBackup{earlier(b, time.Hour, map[string]int32{"root": 1, "data": 1}), earlier(a, 2*time.Hour, map[string]int32{"root": 2, "data": 1})},
			root:    []string{names.Snapshot(a, 1, "root"), names.Snapshot(a, 2, "root")}, data: []string{names.Snapshot(a, 1, "data")},
		},
		"the newest per volume": {
			earlier: []v1alpha1.VMBackup{earlier(a, 3*time.Hour, map[string]int32{"root": 1, "data": 1}), earlier(b, 2*time.Hour, map[string]int32{"root": 1})},
			root:    []string{names.Snapshot(a, 1, "root")},
		},
		"removed before": {
			earlier: []v1alpha1.VMBackup{
				earlier(a, 4*time.Hour, map[string]int32{"root": 0, "data": 0}), earlier(b, 3*time.Hour, map[string]int32{"root": 1, "data": 0}), earlier(c, 2*time.Hour, map[string]int32{"root": 1, "data": 1}),
			},
			root: []string{names.Snapshot(b, 1, "root")},
		},
		"one that was cut later is neither base nor superseded": {
			earlier: []v1alpha1.VMBackup{earlier(a, time.Hour, map[string]int32{"root": 1, "data": 1}), earlier(d, -time.Hour, map[string]int32{"root": 1, "data": 1})},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := Backup(look(wasStarted, job(kindCut, "", 1, cutDone), func(v *BackupView) { v.Earlier = tc.earlier }))
			require.Len(t, in.CreateJobs, 2)
			require.Equal(t, tc.root, in.CreateJobs[0].Spec.Backup.Superseded)
			require.Equal(t, tc.data, in.CreateJobs[1].Spec.Backup.Superseded)
		})
	}
}

func TestRemovedSnapshotsAreRecorded(t *testing.T) {
	took := []string{names.Snapshot("a", 1, "root")}
	for _, removed := range []bool{true, false} {
		v := look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, running))
		j := find(v.Jobs, kindBackup, v1alpha1.ObjectReference{UID: uid}, "root", 1)
		j.Spec.Backup = &v1alpha1.BackupJob{Superseded: took}
		j.Status.Transfer = &v1alpha1.TransferStatus{SupersededRemoved: removed}
		if removed {
			require.Equal(t, took, Backup(v).Status.Disks[0].Superseded)
		} else {
			require.Empty(t, Backup(v).Status.Disks[0].Superseded)
		}
	}
}

// TestCleanUpRemovesLaterCuts: a point is cancelled while its agent is killed
// inside the cut, and the next owner of the job cuts under the next number.
func TestCleanUpRemovesLaterCuts(t *testing.T) {
	v := look(wasStarted, cancelled, job(kindCut, "", 1, func(s *v1alpha1.NodeJobStatus) {
		running(s)
		s.Cut = &v1alpha1.CutStatus{Number: 1}
	}))
	v.Backup.Status = Backup(v).Status
	require.Equal(t, names.Snapshot(uid, 1, "root"), v.Backup.Status.Disks[0].Snapshot)
	cutDone(&v.Jobs[0].Status)
	jobs := Backup(v).CreateJobs
	require.Len(t, jobs, 2)
	for i, disk := range []string{"root", "data"} {
		require.Equal(t, []string{names.Snapshot(uid, 1, disk), names.Snapshot(uid, 2, disk)}, jobs[i].Spec.RemoveSnapshots.Snapshots)
	}
}
