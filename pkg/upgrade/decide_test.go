package upgrade

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestOfSchedule(t *testing.T) {
	noon := metav1.NewTime(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	runs := []v1alpha1.ScheduleRun{{NominalTime: noon, Points: 1, Pending: []string{"a", "b"}}}
	waits := func(annotations ...string) v1alpha1.VMSchedule {
		s := v1alpha1.VMSchedule{Spec: v1alpha1.VMScheduleSpec{Suspend: true, Target: "s3", ResumeAfterTargetReadySeconds: ptr.To(int32(600))}}
		s.Annotations = map[string]string{v1alpha1.AnnotationSuspendedBy: v1alpha1.SuspendedByCoordinator}
		for _, a := range annotations {
			s.Annotations[a] = ""
		}
		return s
	}
	for name, c := range map[string]struct {
		s           v1alpha1.VMSchedule
		state, says string
	}{
		"active":              {v1alpha1.VMSchedule{}, Active, "it may begin a run at any time"},
		"active, its next":    {v1alpha1.VMSchedule{Status: v1alpha1.VMScheduleStatus{NextTime: &noon}}, Active, "its next run is at 2026-06-01 12:00:00 UTC"},
		"active and at work":  {v1alpha1.VMSchedule{Status: v1alpha1.VMScheduleStatus{Runs: runs}}, Active, "it may begin a run at any time"},
		"at work":             {v1alpha1.VMSchedule{Spec: v1alpha1.VMScheduleSpec{Suspend: true}, Status: v1alpha1.VMScheduleStatus{Runs: runs}}, Running, "its run of 2026-06-01 12:00:00 UTC has made 1 point and has 2 VMs to come"},
		"resumes by itself":   {waits(), Waiting, "failures have suspended it, and it resumes by itself when BackupTarget s3 has been Ready for 600 s"},
		"is kept from that":   {waits(v1alpha1.AnnotationHeld), "", ""},
		"a user suspended it": {waits(v1alpha1.AnnotationSuspendedBy), "", ""},
		"suspended":           {v1alpha1.VMSchedule{Spec: v1alpha1.VMScheduleSpec{Suspend: true}}, "", ""},
		"being deleted":       {v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &noon}}, "", ""},
		"deleted and at work": {v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &noon}, Status: v1alpha1.VMScheduleStatus{Runs: runs}}, Running, "its run of"},
	} {
		t.Run(name, func(t *testing.T) { check(t, ofSchedule(&c.s), c.state, c.says) })
	}
}

func TestOfBackup(t *testing.T) {
	said := []metav1.Condition{{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionTrue, Message: "1 disk is moving"}}
	for phase, state := range map[v1alpha1.BackupPhase]string{
		"": "Pending", v1alpha1.BackupPending: "Pending", v1alpha1.BackupCutting: "Cutting", v1alpha1.BackupUploading: "Uploading", v1alpha1.BackupVerifying: "Verifying",
		v1alpha1.BackupReady: "", v1alpha1.BackupFailed: "", v1alpha1.BackupDataLost: "", v1alpha1.BackupMissing: "", v1alpha1.BackupDeleting: "",
	} {
		t.Run(string(phase), func(t *testing.T) {
			p := v1alpha1.VMBackup{Status: v1alpha1.VMBackupStatus{Phase: phase, Conditions: said}}
			check(t, ofBackup(&p), state, "1 disk is moving")
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			require.Nil(t, ofBackup(&p))
		})
	}
}

func TestOfRestore(t *testing.T) {
	for phase, state := range map[v1alpha1.RestorePhase]string{
		"": "Pending", v1alpha1.RestorePending: "Pending", v1alpha1.RestoreRestoring: "Restoring", v1alpha1.RestoreBuilding: "Building",
		v1alpha1.RestoreReady: "", v1alpha1.RestoreFailed: "", v1alpha1.RestoreDeleting: "",
	} {
		t.Run(string(phase), func(t *testing.T) {
			check(t, ofRestore(&v1alpha1.VMRestore{Status: v1alpha1.VMRestoreStatus{Phase: phase}}), state, "")
		})
	}
}

func check(t *testing.T, b *Blocker, state, says string) {
	t.Helper()
	if state == "" {
		require.Nil(t, b)
		return
	}
	require.NotNil(t, b)
	require.Equal(t, state, b.State)
	require.Contains(t, b.Message, says)
}
