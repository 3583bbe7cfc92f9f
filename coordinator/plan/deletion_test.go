package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

func retain(v *BackupView)        { v.Backup.Spec.DeletionPolicy = v1alpha1.DeletionRetain }
func noTarget(v *BackupView)      { v.Target = nil }
func namespaceGoes(v *BackupView) { v.GoesWith = "namespace ns" }
func forced(v *BackupView) {
	v.Backup.Annotations = map[string]string{v1alpha1.AnnotationForceDeletion: "true"}
}

// snapshotsGone: the engine snapshots of both disks are removed.
func snapshotsGone(v *BackupView) {
	job(kindRemove, "root", 1, succeeded)(v)
	job(kindRemove, "data", 1, succeeded)(v)
}

// deletedFor says how long ago the deletion was asked for.
func deletedFor(d time.Duration) func(*BackupView) {
	return func(v *BackupView) { v.Backup.DeletionTimestamp = ago(d) }
}

// letGo: the finalizer was dropped.
func letGo(v *BackupView) { v.Backup.Finalizers = nil }

// deadTarget fails to let the point's data be removed.
func deadTarget(transient bool) func(*BackupView) {
	return work(OpDeletePoint, "", bad(transient, time.Minute))
}

func locked(v *BackupView) {
	s := bad(true, time.Minute)
	s.Err.Reason = reasonLocked
	v.Work[Work{Op: OpDeletePoint}] = s
}

func TestDeletion(t *testing.T) {
	const held = "True DeletionHeldUp"
	for name, c := range map[string]struct {
		view        BackupView
		phase       v1alpha1.BackupPhase
		progressing string
		says        string
		do          []string
		event       string
		tombstone   string
	}{
		"deleted before anything was done": {view: look(deleting), phase: ""},
		"let go, and shown for a moment longer": {
			view: look(isReady, deleting, letGo), phase: "Ready", progressing: "False Complete",
		},
		"let go, and its jobs are still shown": {
			view: look(isReady, deleting, letGo, snapshotsGone), phase: "Ready", progressing: "False Complete", do: []string{"drop jobs"},
		},
		"deleted while being read": {
			view:  look(isReady, deleting, func(v *BackupView) { v.Readers = []string{"r1"} }),
			phase: "Deleting", progressing: "True Waiting", says: "VMRestore r1",
		},
		"deleted while a job runs": {
			view:  look(cut, deleting, job(kindBackup, "root", 1, running), job(kindBackup, "data", 1, unclaimed)),
			phase: "Deleting", progressing: "True CleaningUp", says: "waiting for jobs", do: []string{"delete backup-data-1"},
		},
		"deleted": {
			view:  look(isReady, deleting),
			phase: "Deleting", progressing: "True CleaningUp", do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 2"},
		},
		"deleted, retained": {
			view:  look(isReady, deleting, retain),
			phase: "Deleting", progressing: "True CleaningUp", do: []string{"create remove-data-1", "create remove-root-1"},
		},
		"deleted, retained, no target any more": {
			view:  look(isReady, deleting, retain, func(v *BackupView) { v.Target = nil }, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, succeeded)),
			phase: "Ready", progressing: "False Complete", do: []string{"drop jobs", "let go"}, tombstone: "Retained",
		},
		"deleted, no target any more": {
			view:  look(isReady, deleting, func(v *BackupView) { v.Target = nil }, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, succeeded)),
			phase: "Deleting", progressing: held, event: "DeletionHeldUp", says: "is gone, so the data on it cannot be removed",
		},
		"deleted, all gone": {
			view:  look(isReady, deleting, job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, succeeded), reclaimed),
			phase: "Ready", progressing: "False Complete", do: []string{"drop jobs", "let go"},
		},
		"deleted while cutting: what was cut goes too": {
			view: look(wasStarted, deleting, job(kindCut, "", 1, func(s *v1alpha1.NodeJobStatus) {
				failedJob("EngineError", true, 0)(s)
				s.Cut = &v1alpha1.CutStatus{Number: 1}
			})),
			phase: "Deleting", progressing: "True CleaningUp", do: []string{"create remove-data-1", "create remove-root-1", "start DeletePoint 0"},
		},

		"a dead target holds it up, and the way out is told": {
			view:  look(isReady, deletedFor(time.Hour), snapshotsGone, deadTarget(true)),
			phase: "Deleting", progressing: held, says: "--keep-data", event: "DeletionHeldUp",
		},
		"also one that says no": {
			view:  look(isReady, deletedFor(time.Hour), snapshotsGone, deadTarget(false)),
			phase: "Deleting", progressing: held, says: "trying again", event: "DeletionHeldUp",
		},
		"a lock on the target ends by itself": {
			view:  look(isReady, deletedFor(time.Hour), snapshotsGone, locked),
			phase: "Deleting", progressing: "True CleaningUp", says: "trying again",
		},
		"retained while it is held up": {
			view:  look(isReady, deletedFor(time.Hour), snapshotsGone, deadTarget(true), retain),
			phase: "Ready", progressing: "False Complete", do: []string{"drop jobs", "let go"}, tombstone: "Retained",
		},
		"forced while jobs run": {
			view:  look(cut, deleting, forced, job(kindBackup, "root", 1, running)),
			phase: "Uploading", progressing: "True Working", do: []string{"drop jobs", "let go"}, event: "LeftBehind",
		},
		"forced, whole": {
			view:  look(isReady, deleting, forced),
			phase: "Ready", progressing: "False Complete", do: []string{"let go"}, event: "LeftBehind", tombstone: "Forced",
		},
		"forced while it is being read": {
			view:  look(isReady, deleting, forced, func(v *BackupView) { v.Readers = []string{"r1"} }),
			phase: "Deleting", progressing: "True Waiting", says: "cancel or delete it",
		},

		"a failed point with a dead target waits a while": {
			view:  look(isFailing, deleting, snapshotsGone, deadTarget(true)),
			phase: "Deleting", progressing: held, says: "the object goes in any case", event: "DeletionHeldUp",
		},
		"a failed point with a dead target goes after a while": {
			view:  look(isFailing, deletedFor(4*time.Minute), snapshotsGone, deadTarget(true)),
			phase: "Uploading", progressing: "True CleaningUp", do: []string{"drop jobs", "let go"}, event: "LeftBehind",
		},
		"a failed point with a target that says no goes at once": {
			view:  look(isFailing, deleting, snapshotsGone, deadTarget(false)),
			phase: "Uploading", progressing: "True CleaningUp", do: []string{"drop jobs", "let go"}, event: "LeftBehind",
		},
		"a failed point without target goes at once": {
			view:  look(isFailing, deleting, snapshotsGone, noTarget),
			phase: "Uploading", progressing: "True CleaningUp", do: []string{"drop jobs", "let go"}, event: "LeftBehind",
		},
		"a failed point waits for a lock": {
			view:  look(isFailing, deletedFor(time.Hour), snapshotsGone, locked),
			phase: "Deleting", progressing: "True CleaningUp",
		},
		"a failed point waits for its engine snapshots": {
			view:  look(isFailing, deletedFor(time.Hour), job(kindRemove, "root", 1, succeeded), job(kindRemove, "data", 1, running), deadTarget(false)),
			phase: "Deleting", progressing: held, event: "DeletionHeldUp",
		},
		"a failed point is reclaimed though it is retained: there is nothing to keep": {
			view:  look(isFailing, deleting, snapshotsGone, retain),
			phase: "Deleting", progressing: "True CleaningUp", do: []string{"start DeletePoint 2"},
		},
		"retained when its document may be written": {
			view: look(cut, job(kindBackup, "root", 1, succeeded), job(kindBackup, "data", 1, succeeded), func(v *BackupView) {
				v.Backup.Status = Backup(*v).Status
				v.Jobs = nil
			}, deleting, retain, snapshotsGone),
			phase: "Verifying", progressing: "True Working", do: []string{"drop jobs", "let go"}, tombstone: "Retained",
		},

		"its namespace goes: its data stays, for whoever finds it": {
			view:  look(isReady, deleting, namespaceGoes, snapshotsGone),
			phase: "Ready", progressing: "False Complete", do: []string{"drop jobs", "let go"}, event: "DataKept",
		},
		"its namespace goes: engine snapshots are removed": {
			view:  look(isReady, deleting, namespaceGoes),
			phase: "Deleting", progressing: "True CleaningUp", do: []string{"create remove-data-1", "create remove-root-1"},
		},
		"its namespace goes and nobody removes the engine snapshots": {
			view:  look(isReady, deletedFor(4*time.Minute), namespaceGoes, job(kindRemove, "root", 1, unclaimed), job(kindRemove, "data", 1, unclaimed)),
			phase: "Ready", progressing: "False Complete", do: []string{"drop jobs", "let go"}, event: "LeftBehind",
		},
		"its namespace goes and a transfer runs on": {
			view:  look(cut, deletedFor(time.Minute), namespaceGoes, job(kindBackup, "root", 1, running)),
			phase: "Deleting", progressing: "True CleaningUp", says: "jobs that run to end",
		},
		"its namespace goes and a transfer runs on and on": {
			view:  look(cut, deletedFor(4*time.Minute), namespaceGoes, job(kindBackup, "root", 1, running)),
			phase: "Uploading", progressing: "True Working", do: []string{"drop jobs", "let go"}, event: "LeftBehind",
		},
		"its namespace goes: what never was whole is reclaimed": {
			view:  look(isFailing, deleting, namespaceGoes, snapshotsGone),
			phase: "Deleting", progressing: "True CleaningUp", do: []string{"start DeletePoint 2"},
		},
		"its namespace goes: a snapshot needs no more than its engine snapshots": {
			view:  look(snapReady, deleting, namespaceGoes, snapshotsGone),
			phase: "Ready", progressing: "False Complete", do: []string{"drop jobs", "let go"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Backup(c.view)
			require.Equal(t, c.phase, got.Status.Phase)
			require.Equal(t, c.progressing, reason(got.Status.Conditions, v1alpha1.ConditionProgressing))
			require.Contains(t, message(got.Status.Conditions, v1alpha1.ConditionProgressing), c.says)
			require.Equal(t, c.do, told(got.Actions))
			events := ""
			for _, e := range got.Events {
				events += e.Reason
			}
			require.Contains(t, events, c.event)
			tombstone := ""
			if got.Tombstone != nil {
				tombstone = got.Tombstone.Reason
				require.Equal(t, "s3", got.Tombstone.Target)
				require.Contains(t, got.Tombstone.Path, "hayloft/points/ns/p1")
			}
			require.Equal(t, c.tombstone, tombstone)
			require.Equal(t, got, Backup(c.view), "the same view gives the same intent")
		})
	}
}

// A target that stays dead is told about once, not with every try.
func TestDeletionIsToldToBeHeldUpOnce(t *testing.T) {
	v := look(isReady, deleting, snapshotsGone, deadTarget(true))
	v.Backup.Status = Backup(v).Status
	require.Empty(t, Backup(v).Events)
	v.Work[Work{Op: OpDeletePoint}] = WorkState{Tries: 9, Ended: now}
	require.True(t, Backup(v).DropFinalizer, "and it goes by itself when the target is back")
	require.Nil(t, Backup(v).Tombstone)
}

// What is left is said by name when a deletion is forced.
func TestForcedDeletionSaysWhatIsLeft(t *testing.T) {
	in := Backup(look(isReady, deleting, forced))
	require.Contains(t, in.Events[0].Message, names.Snapshot(uid, 2, "root"))
	require.Contains(t, in.Events[0].Message, "on target s3")
}
