package status_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

func TestOfBackup(t *testing.T) {
	uploading := v1alpha1.VMBackupStatus{
		Phase: v1alpha1.BackupUploading,
		Disks: []v1alpha1.BackupDisk{
			{Name: "root", State: v1alpha1.DiskTransferring, Progress: &v1alpha1.Progress{BytesDone: 5, BytesTotal: 10}, Attempt: 1},
			{Name: "data", State: v1alpha1.DiskDone, Progress: &v1alpha1.Progress{BytesDone: 18, BytesTotal: 20}, Attempt: 2},
			{Name: "new", State: v1alpha1.DiskPending},
		},
		Conditions: []metav1.Condition{{Type: "Progressing", Status: "True", Message: "uploading 2 disks"}},
	}
	s := status.OfBackup(&v1alpha1.VMBackup{Status: uploading})
	assert.Equal(t, "uploading 2 disks", s.Why)
	assert.Equal(t, int64(25), s.Done, "a disk that is done has all its bytes")
	assert.Equal(t, int64(30), s.Total)
	assert.False(t, s.Ended)

	uploading.Progress = &v1alpha1.Progress{BytesDone: 1, BytesTotal: 2}
	s = status.OfBackup(&v1alpha1.VMBackup{Status: uploading})
	assert.Equal(t, int64(2), s.Total, "the coordinator's own sum counts")

	uploading.Phase = v1alpha1.BackupReady
	s = status.OfBackup(&v1alpha1.VMBackup{Status: uploading})
	assert.True(t, s.Ended)
	assert.False(t, s.Failed)
	assert.Empty(t, s.Why)
}

func TestCauseOfFailure(t *testing.T) {
	disks := []v1alpha1.RestoreDisk{{Name: "root"}, {Name: "data", Message: "no space"}}
	for _, tc := range []struct {
		name       string
		conditions []metav1.Condition
		disks      []v1alpha1.RestoreDisk
		want       string
	}{
		{"the coordinator's words", []metav1.Condition{{Type: "Ready", Reason: "Damaged", Message: "block is missing"}}, disks, "block is missing (Damaged)"},
		{"the disks' words", nil, disks, "disk data: no space"},
		{"silence", nil, nil, "no cause was given"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := status.OfRestore(&v1alpha1.VMRestore{Status: v1alpha1.VMRestoreStatus{
				Phase: v1alpha1.RestoreFailed, Conditions: tc.conditions, Disks: tc.disks,
			}})
			assert.True(t, s.Ended)
			assert.True(t, s.Failed)
			assert.Equal(t, tc.want, s.Cause)
		})
	}
}
