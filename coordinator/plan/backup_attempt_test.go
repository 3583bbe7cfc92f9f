package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// unseen: the attempt at disk root failed, and nobody saw how its transfer
// ended.
func unseen(v *BackupView) {
	cut(v)
	job(kindBackup, "root", 1, failedJob("TransferLost", true, time.Hour))(v)
}

// doubted: the engine called both disks complete, and the inspection of all of
// them has found one that is not.
func doubted(reason string, transient bool) func(*BackupView) {
	return func(v *BackupView) {
		cut(v)
		job(kindBackup, "root", 1, succeeded)(v)
		job(kindBackup, "data", 1, succeeded)(v)
		work(OpFinalize, "true,"+names.Backup(uid, "root", 1)+","+names.Backup(uid, "data", 1), WorkState{
			Tries: 9, Ended: now, FirstFailed: now.Add(-time.Hour), Err: &WorkError{Reason: reason, Message: "something is not whole", Transient: transient},
		})(v)
	}
}

// An attempt is looked for on the target before there is another one: what is
// whole is taken over, what was called complete and is not is done again.
func TestAttemptOnTheTarget(t *testing.T) {
	dataRuns := job(kindBackup, "data", 1, running)
	for name, c := range map[string]struct {
		view    BackupView
		phase   v1alpha1.BackupPhase
		ready   string
		says    string // Progressing or, when it failed, Ready
		do      []string
		root    v1alpha1.DiskState
		attempt int32
	}{
		"lost: looked for first": {
			view: look(unseen, dataRuns), phase: "Uploading", says: "looking what of it is on the target",
			do: []string{"start InspectAttempt a1-root"}, root: "Transferring", attempt: 1,
		},
		"lost: being looked for": {
			view:  look(unseen, dataRuns, work(OpInspectAttempt, names.Backup(uid, "root", 1), WorkState{Running: true})),
			phase: "Uploading", root: "Transferring", attempt: 1,
		},
		"lost: the target does not answer now": {
			view:  look(unseen, dataRuns, work(OpInspectAttempt, names.Backup(uid, "root", 1), bad(true, time.Second))),
			phase: "Uploading", root: "Transferring", attempt: 1,
		},
		"lost: the target does not answer for long": {
			view:  look(unseen, dataRuns, work(OpInspectAttempt, names.Backup(uid, "root", 1), bad(true, time.Hour))),
			phase: "Uploading", do: []string{"create backup-root-2", "start DropAttempt a1-root"}, root: "Transferring", attempt: 2,
		},
		"lost: whole": {view: look(unseen, dataRuns, looked("root", 1, "")), phase: "Uploading", root: "Transferred", attempt: 1},
		"lost: whole, and the other one is in": {
			view:  look(unseen, job(kindBackup, "data", 1, succeeded), looked("root", 1, "")),
			phase: "Verifying", do: []string{"start Finalize"}, root: "Transferred", attempt: 1,
		},
		"lost: not whole": {
			view: look(unseen, dataRuns, looked("root", 1, "NotFound")), phase: "Uploading",
			do: []string{"create backup-root-2", "start DropAttempt a1-root"}, root: "Transferring", attempt: 2,
		},
		"lost: the last attempt is whole": {
			view: look(cut, func(v *BackupView) {
				v.Backup.Status.Disks[0].Attempt, v.Backup.Status.Disks[0].Backup = 3, names.Backup(uid, "root", 3)
			}, job(kindBackup, "root", 3, failedJob("Stalled", true, time.Hour)), dataRuns, looked("root", 3, "")),
			phase: "Uploading", do: []string{"start DropAttempt a1-root", "start DropAttempt a2-root"}, root: "Transferred", attempt: 3,
		},
		"lost: taken over, a new leader goes on and looks again": {
			view: look(unseen, job(kindBackup, "data", 1, succeeded), looked("root", 1, ""), func(v *BackupView) {
				v.Backup.Status = Backup(*v).Status
				v.Work = Works{}
			}),
			phase: "Verifying", do: []string{"start Finalize", "start InspectAttempt a1-root"}, root: "Transferred", attempt: 1,
		},
		"the target refused: its end was seen": {
			view:  look(cut, job(kindBackup, "root", 1, failedJob("TargetError", true, time.Hour)), dataRuns),
			phase: "Uploading", do: []string{"create backup-root-2", "start DropAttempt a1-root"}, root: "Transferring", attempt: 2,
		},

		"doubt: every disk is looked at": {
			view: look(doubted("InProgress", true)), phase: "Verifying", says: "looking which",
			do: []string{"start InspectAttempt a1-data", "start InspectAttempt a1-root"}, root: "Transferred", attempt: 1,
		},
		"doubt: one is not looked at yet": {
			view:  look(doubted("InProgress", true), looked("root", 1, "InProgress"), work(OpInspectAttempt, names.Backup(uid, "data", 1), WorkState{Running: true})),
			phase: "Verifying", says: "looking which", root: "Transferred", attempt: 1,
		},
		"doubt: the one that is not whole is done again": {
			view:  look(doubted("InProgress", true), looked("root", 1, "InProgress"), looked("data", 1, "")),
			phase: "Uploading", says: "the engine called the last one complete and it is not: root is not whole",
			do: []string{"create backup-root-2", "start DropAttempt a1-root"}, root: "Transferring", attempt: 2,
		},
		"doubt: both are done again": {
			view:  look(doubted("Damaged", false), looked("root", 1, "Damaged"), looked("data", 1, "NotFound")),
			phase: "Uploading", root: "Transferring", attempt: 2,
			do: []string{"create backup-data-2", "create backup-root-2", "start DropAttempt a1-data", "start DropAttempt a1-root"},
		},
		"doubt: no attempt is left": {
			view: look(doubted("InProgress", true), func(v *BackupView) { v.Config.Attempts = 1 },
				looked("root", 1, "InProgress"), looked("data", 1, "")),
			phase: "Uploading", ready: "False InProgress", says: "root is not whole", root: "Failed", attempt: 1,
			do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 2"},
		},
		"doubt: every disk is whole, so it is something else": {
			view:  look(doubted("Mismatch", false), looked("root", 1, ""), looked("data", 1, "")),
			phase: "Verifying", ready: "False Mismatch", says: "did not arrive whole on the target: something is not whole", root: "Transferred", attempt: 1,
			do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 2"},
		},
		"no doubt: the target cannot be asked": {
			view:  look(doubted("AccessDenied", false)),
			phase: "Verifying", ready: "False AccessDenied", root: "Transferred", attempt: 1,
			do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Backup(c.view)
			require.Equal(t, c.phase, got.Status.Phase)
			require.Equal(t, c.ready, reason(got.Status.Conditions, v1alpha1.ConditionReady))
			kind := v1alpha1.ConditionProgressing
			if c.ready != "" {
				kind = v1alpha1.ConditionReady
			}
			require.Contains(t, message(got.Status.Conditions, kind), c.says)
			require.Equal(t, c.do, told(got.Actions))
			require.Equal(t, c.root, got.Status.Disks[0].State)
			require.Equal(t, c.attempt, got.Status.Disks[0].Attempt)
			require.Equal(t, names.Backup(uid, "root", c.attempt), got.Status.Disks[0].Backup)
			require.Equal(t, got, Backup(c.view), "the same view gives the same intent")
		})
	}
}

// A replica that was frozen when its attempt was given up may go on: what it
// leaves is looked for once more when the point is whole.
func TestFormerAttemptsAreLookedForOnceMoreAtTheEnd(t *testing.T) {
	former := names.Backup(uid, "root", 1)
	v := look(cut, func(v *BackupView) {
		d := &v.Backup.Status.Disks[0]
		d.Attempt, d.Backup = 2, names.Backup(uid, "root", 2)
	}, job(kindBackup, "root", 2, succeeded), job(kindBackup, "data", 1, succeeded),
		work(OpDropAttempt, former, WorkState{Tries: 1, Ended: now}),
		work(OpFinalize, "true,"+names.Backup(uid, "root", 2)+","+names.Backup(uid, "data", 1), WorkState{Tries: 1, Ended: now}),
		func(v *BackupView) { v.Finalized = &Finalized{Path: "hayloft/points/ns/p1.json", Digest: "sha256:1"} })
	in := Backup(v)
	require.Equal(t, v1alpha1.BackupVerifying, in.Status.Phase)
	require.Len(t, in.Start, 1)
	require.Equal(t, OpDropAttempt, in.Start[0].Op)
	require.Equal(t, []BackupRef{{"v-root", former}}, in.Start[0].Backups)

	work(OpDropAttempt, in.Start[0].Arg, WorkState{Tries: 1, Ended: now})(&v)
	require.Equal(t, v1alpha1.BackupReady, Backup(v).Status.Phase)
}
