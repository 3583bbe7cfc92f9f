package plan

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Of many points that come at once the first job is made before the point's status is
// written: each is late with every request that others make first. Until that is
// written nobody works on the job, so whoever leads then may take it for its own, or
// remove it and begin anew.

// Undecided: nothing was recorded of the point's beginning, nor was it refused.
func Undecided(b *v1alpha1.VMBackup) bool {
	return b.DeletionTimestamp.IsZero() && unrecorded(b)
}

func unrecorded(b *v1alpha1.VMBackup) bool {
	return b.Status.StartedAt == nil && meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady) == nil
}

// RecordsLater tells whether all that an intent for a point does is to begin it, by a
// job that may be made before the status is written.
func RecordsLater(b *v1alpha1.VMBackup, in BackupIntent) bool {
	if !Undecided(b) || in.Status.Phase != v1alpha1.BackupCutting || len(in.CreateJobs) != 1 || in.CreateJobs[0].Spec.Cut == nil ||
		len(in.DeleteJobs) > 0 || in.DropJobs || in.Delete || in.DropFinalizer || in.Tombstone != nil {
		return false
	}
	// What space it takes is to be known to the next one, and what keeps the object comes first.
	if in.Status.ReservedBytes != nil || !slices.Contains(b.Finalizers, v1alpha1.FinalizerData) {
		return false
	}
	for k, v := range in.Labels {
		if b.Labels[k] != v {
			return false
		}
	}
	return true
}

// Begun is a point as it stands when its beginning is written: nothing else was
// recorded of it meanwhile. false: something was.
func Begun(b *v1alpha1.VMBackup, beginning *v1alpha1.VMBackupStatus) (*v1alpha1.VMBackup, bool) {
	if beginning == nil || !unrecorded(b) {
		return b, false
	}
	b = b.DeepCopy()
	beginning.DeepCopyInto(&b.Status)
	return b, true
}

// Recorded tells whether a job's point says what the job is to do. One of which no
// point does is given to no agent. b is nil when there is none, or it is not seen yet.
func Recorded(j *v1alpha1.NodeJob, b *v1alpha1.VMBackup) bool {
	if j.Spec.Owner.Kind != "VMBackup" || j.Spec.Cut == nil || j.Spec.NodeName != "" {
		return true // others are made after the status was written
	}
	return b != nil && b.UID == j.Spec.Owner.UID && b.Status.StartedAt != nil && cuts(j.Spec.Cut, &b.Status)
}

// cuts: the disks are those of the status, of the same VM.
func cuts(c *v1alpha1.CutJob, st *v1alpha1.VMBackupStatus) bool {
	return (c.Guest == nil || c.Guest.VMUID == st.SourceUID) &&
		slices.EqualFunc(c.Disks, st.Disks, func(c v1alpha1.CutDisk, d v1alpha1.BackupDisk) bool { return c.Name == d.Name && c.Volume == d.Volume })
}

// otherCut is a cut job of this point that was made of other disks, by a leader that
// has not come to record it, and that nobody was given; nil: there is none.
func (p *backupPlan) otherCut() *v1alpha1.NodeJob {
	j := find(p.v.Jobs, kindCut, p.owner(), "", 1)
	if j == nil || j.Spec.Cut == nil || j.Spec.NodeName != "" || j.Status.Session != "" || j.Status.State != v1alpha1.JobPending || cuts(j.Spec.Cut, &p.st) {
		return nil
	}
	return j
}
