package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// Kinds of job, as they appear in job names.
const (
	kindCut     = "cut"
	kindBackup  = "backup"
	kindRestore = "restore"
	kindClone   = "clone"
	kindRemove  = "remove"
)

func newJob(kind string, owner v1alpha1.ObjectReference, disk string, attempt int32, deadline time.Duration) *v1alpha1.NodeJob {
	label := v1alpha1.LabelPoint
	if owner.Kind == "VMRestore" {
		label = v1alpha1.LabelRestore
	}
	return &v1alpha1.NodeJob{
		ObjectMeta: metav1.ObjectMeta{
			Name:   names.Job(kind, owner.UID, disk, attempt),
			Labels: map[string]string{label: string(owner.UID)},
		},
		Spec: v1alpha1.NodeJobSpec{Owner: owner, DeadlineSeconds: max(1, int64(deadline/time.Second))},
	}
}

// newJob is one for this point.
func (p *backupPlan) newJob(kind, disk string, attempt int32, deadline time.Duration) *v1alpha1.NodeJob {
	j := newJob(kind, p.owner(), disk, attempt, deadline)
	j.Spec.VM = p.v.Backup.Spec.VM
	return j
}

func find(jobs []v1alpha1.NodeJob, kind string, owner v1alpha1.ObjectReference, disk string, attempt int32) *v1alpha1.NodeJob {
	name := names.Job(kind, owner.UID, disk, attempt)
	i := slices.IndexFunc(jobs, func(j v1alpha1.NodeJob) bool { return j.Name == name })
	if i < 0 {
		return nil
	}
	return &jobs[i]
}

// Finished: the job has ended, well or badly.
func Finished(j *v1alpha1.NodeJob) bool {
	return j.Status.State == v1alpha1.JobSucceeded || j.Status.State == v1alpha1.JobFailed
}

// judge is what a job's end means: its own words, or that it is overdue. nil:
// it did not fail (yet).
func judge(j *v1alpha1.NodeJob, now time.Time, grace time.Duration) *verdict {
	if j.Status.State == v1alpha1.JobFailed {
		at := now
		if j.Status.CompletedAt != nil {
			at = j.Status.CompletedAt.Time
		}
		return &verdict{reason: j.Status.Reason, message: j.Status.Message, retryable: j.Status.Retryable, at: at}
	}
	if j.Status.State == v1alpha1.JobRunning && j.Status.ClaimedAt != nil {
		limit := time.Duration(j.Spec.DeadlineSeconds)*time.Second + grace
		if over := now.Sub(j.Status.ClaimedAt.Time); over > limit {
			return &verdict{
				reason:  v1alpha1.ReasonDeadlineExceeded,
				message: fmt.Sprintf("job %s was not done within %d s and its agent does not report", j.Name, j.Spec.DeadlineSeconds),
				at:      now,
			}
		}
	}
	return nil
}

// verdict on a job that failed.
type verdict struct {
	reason, message string
	retryable       bool
	at              time.Time // zero: long ago, so nothing is waited for
}

// sourceDeleted puts the cause in the place of a job's failure whose volume is
// gone: volumes go with the VM, or with their claims. Nobody can try that again.
func (p *backupPlan) sourceDeleted(bad *verdict, disks ...v1alpha1.BackupDisk) *verdict {
	var claims []string
	for _, d := range disks {
		if p.v.Gone[d.Volume] {
			claims = append(claims, d.Claim)
		}
	}
	if len(claims) == 0 {
		if bad.reason != v1alpha1.ReasonVolumeGone {
			return bad
		}
		for _, d := range disks { // the cache does not show yet which
			claims = append(claims, d.Claim)
		}
	}
	return &verdict{
		reason:  ReasonSourceDeleted,
		message: fmt.Sprintf("VM %s, or claim %s of it, was deleted meanwhile: %s", p.v.Backup.Spec.VM, strings.Join(claims, " or "), bad.message),
		at:      bad.at,
	}
}

// lookAgain is after how long it is asked again what a job waits for that an
// agent has, and has not begun.
const lookAgain = 5 * time.Second

// waitsFor says in a sentence what an unfinished job waits for: in the agent's
// own words, or for what nobody can begin it.
func (a *Actions) waitsFor(j *v1alpha1.NodeJob, waits map[string]string, doing string) string {
	switch {
	case j == nil:
		return doing
	case j.Status.State == v1alpha1.JobPending && j.Spec.NodeName != "":
		a.again(lookAgain)
		if why := waits[j.Name]; why != "" {
			return doing + ": waiting: " + why
		}
		return fmt.Sprintf("%s: waiting for the agent on node %s", doing, j.Spec.NodeName)
	case waits[j.Name] != "" && j.Spec.NodeName == "":
		return doing + ": waiting: " + waits[j.Name]
	case j.Status.Message != "":
		return doing + ": " + j.Status.Message
	case j.Spec.NodeName == "":
		return doing + ": waiting for a free agent"
	}
	return doing
}
