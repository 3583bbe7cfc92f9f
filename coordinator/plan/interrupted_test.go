package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// wasInterrupted is an attempt at disk root that its VM interrupted, after it had
// moved some bytes or before.
func wasInterrupted(attempt int32, since time.Duration, bytes int64) func(*BackupView) {
	return job(kindBackup, "root", attempt, func(s *v1alpha1.NodeJobStatus) {
		failedJob(v1alpha1.ReasonVolumeWanted, true, since)(s)
		s.Transfer = &v1alpha1.TransferStatus{Started: true}
		if bytes > 0 {
			s.Transfer.Progress = &v1alpha1.Progress{BytesDone: bytes, BytesTotal: 100}
		}
	})
}

func atAttempt(n int32) func(*BackupView) {
	return func(v *BackupView) {
		v.Backup.Status.Disks[0].Attempt, v.Backup.Status.Disks[0].Backup = n, names.Backup(uid, "root", n)
	}
}

// What a VM does to its backup uses up time, not attempts.
func TestInterruptedAttempts(t *testing.T) {
	dataRuns := job(kindBackup, "data", 1, running)
	seen := func(n int32) func(*BackupView) { return looked("root", n, "NotFound") }
	lost := func(n int32) func(*BackupView) {
		return job(kindBackup, "root", n, failedJob("TransferLost", true, time.Hour))
	}
	for name, c := range map[string]struct {
		changes []func(*BackupView)
		attempt int32
		ready   string
		says    string
		after   time.Duration
	}{
		"once":               {[]func(*BackupView){wasInterrupted(1, time.Minute, 10), seen(1)}, 2, "", "attempt 2", 0},
		"once, a moment ago": {[]func(*BackupView){wasInterrupted(1, time.Second, 10), seen(1)}, 1, "", "VolumeWanted", 4 * time.Second},
		"far more often than three times": {
			[]func(*BackupView){atAttempt(5), wasInterrupted(1, 5*time.Hour, 1), wasInterrupted(2, 4*time.Hour, 2), wasInterrupted(3, 3*time.Hour, 3), wasInterrupted(4, 2*time.Hour, 4), wasInterrupted(5, time.Hour, 5), seen(5)},
			6, "", "attempt 6", 0,
		},
		"beside failures, which count": {
			[]func(*BackupView){atAttempt(4), lost(1), wasInterrupted(2, time.Hour, 0), lost(3), wasInterrupted(4, time.Minute, 0), seen(4)},
			5, "", "attempt 5", 0,
		},
		"beside failures, and the last one fails": {
			[]func(*BackupView){atAttempt(4), lost(1), wasInterrupted(2, time.Hour, 0), lost(3), lost(4), seen(4)},
			4, "False TransferLost", "(attempt 3 of 3)", 30 * time.Second,
		},
		"each wait for nothing is longer": {
			[]func(*BackupView){atAttempt(3), wasInterrupted(1, 5*time.Minute, 0), wasInterrupted(2, 3*time.Minute, 0), wasInterrupted(3, 5*time.Second, 0), seen(3)},
			3, "", "VolumeWanted", 15 * time.Second,
		},
		"nothing moved for long": {
			[]func(*BackupView){atAttempt(2), wasInterrupted(1, 31*time.Minute, 0), wasInterrupted(2, time.Minute, 0), seen(2)},
			2, "False VolumeWanted", "for 30m0s nothing of it could be moved: words of the agent", 30 * time.Second,
		},
		"nothing moved since something was": {
			[]func(*BackupView){atAttempt(3), wasInterrupted(1, 2*time.Hour, 0), wasInterrupted(2, 31*time.Minute, 7), wasInterrupted(3, time.Minute, 0), seen(3)},
			4, "", "attempt 4", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := look(append([]func(*BackupView){cut, dataRuns}, c.changes...)...)
			got := Backup(v)
			require.Equal(t, c.attempt, got.Status.Disks[0].Attempt)
			require.Equal(t, c.ready, reason(got.Status.Conditions, v1alpha1.ConditionReady))
			kind := v1alpha1.ConditionProgressing
			if c.ready != "" {
				kind = v1alpha1.ConditionReady
			}
			require.Contains(t, message(got.Status.Conditions, kind), c.says)
			require.Equal(t, c.after, got.After)
			require.Equal(t, got, Backup(v), "the same view gives the same intent")
		})
	}
}

func TestJobsNameTheVM(t *testing.T) {
	for _, j := range Backup(look(cut)).CreateJobs {
		require.Equal(t, "web", j.Spec.VM, "its start is watched for")
	}
	for _, j := range Backup(look()).CreateJobs {
		require.Equal(t, "web", j.Spec.VM)
	}
}
