package control

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
)

// countPoint counts what a status that was just written tells for the first time.
func (c *Controller) countPoint(former v1alpha1.VMBackupStatus, b *v1alpha1.VMBackup) {
	attempts := map[string]int32{}
	for _, d := range former.Disks {
		attempts[d.Name] = d.Attempt
	}
	for _, d := range b.Status.Disks {
		if again(attempts[d.Name], d.Attempt) {
			c.Recorder.Retried("backup")
		}
	}
	if phase := b.Status.Phase; phase != former.Phase && former.Phase != v1alpha1.BackupDamaged && (phase == v1alpha1.BackupReady || phase == v1alpha1.BackupFailed) {
		c.Recorder.PointDone(endedPoint(b))
	}
}

// countRestore counts what a status that was just written tells for the first
// time.
func (c *Controller) countRestore(former v1alpha1.VMRestoreStatus, s *v1alpha1.VMRestore) {
	attempts := map[string]int32{}
	for _, d := range former.Disks {
		attempts[d.Name] = d.Attempt
	}
	for _, d := range s.Status.Disks {
		if again(attempts[d.Name], d.Attempt) {
			kind := "restore"
			if d.Snapshot != "" {
				kind = "clone"
			}
			c.Recorder.Retried(kind)
		}
	}
	if phase := s.Status.Phase; phase != former.Phase && (phase == v1alpha1.RestoreReady || phase == v1alpha1.RestoreFailed) {
		c.Recorder.RestoreDone(endedRestore(s))
	}
}

// again: a disk's attempt follows on another.
func again(former, now int32) bool { return now > 1 && now > former }

func endedPoint(b *v1alpha1.VMBackup) metrics.Point {
	p := metrics.Point{Type: string(b.Spec.Type), Target: b.Spec.Target, Took: between(b.Status.StartedAt, b.Status.CompletedAt)}
	if b.Status.Phase != v1alpha1.BackupReady {
		p.Reason = readyReason(b.Status.Conditions)
		return p
	}
	for _, d := range b.Status.Disks {
		if d.Progress != nil {
			p.ReadBytes += d.Progress.BytesTotal
		}
		if d.UploadedBytes != nil {
			p.UploadedBytes += *d.UploadedBytes
		}
	}
	return p
}

func endedRestore(s *v1alpha1.VMRestore) metrics.Restore {
	r := metrics.Restore{Kind: "newVM", Took: between(s.Status.StartedAt, s.Status.CompletedAt)}
	switch {
	case s.Spec.Replace != nil:
		r.Kind = "replace"
	case s.Spec.DiskClaim != nil:
		r.Kind = "diskClaim"
	}
	if s.Status.Phase != v1alpha1.RestoreReady {
		r.Reason = readyReason(s.Status.Conditions)
		return r
	}
	for _, d := range s.Status.Disks {
		r.Bytes += d.SizeBytes
	}
	return r
}

// between is at least a millisecond when both are known: objects tell whole
// seconds.
func between(from, to *metav1.Time) time.Duration {
	if from == nil || to == nil {
		return 0
	}
	return max(time.Millisecond, to.Sub(from.Time))
}

// readyReason says why an object failed.
func readyReason(conditions []metav1.Condition) string {
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return "Unknown"
}
