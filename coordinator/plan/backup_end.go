package plan

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// failing cleans up after a point that failed: its engine snapshots, then what
// it uploaded. The cause stands in the condition Ready already.
func (p *backupPlan) failing() {
	if p.st.Phase == v1alpha1.BackupFailed && ended(p.st.Conditions) {
		p.a.DropJobs = len(p.v.Jobs) > 0
		p.a.DropFinalizer = true
		return
	}
	now := metav1.NewTime(p.v.Now)
	cause := failure(p.st.Conditions)
	if p.st.CompletedAt == nil {
		p.st.CompletedAt = &now
	}
	c := p.clean(true, p.v.Config.RemoveAttempts)
	if c.done() {
		p.st.Phase = v1alpha1.BackupFailed
		if waits := c.waits(); waits != "" {
			p.progressing(metav1.ConditionFalse, ReasonCleanUpGivenUp, waits)
		} else {
			p.progressing(metav1.ConditionFalse, ReasonCleanedUp, "nothing of this point is left")
		}
		p.a.DropJobs = len(p.v.Jobs) > 0
		p.a.DropFinalizer = true
		return
	}
	p.progressing(metav1.ConditionTrue, ReasonCleaningUp, c.waits())
	if left := remaining(p.v.Now, cause.LastTransitionTime.Time, p.v.Config.CleanPatience); left > 0 {
		p.a.again(left)
	} else {
		p.st.Phase = v1alpha1.BackupFailed
	}
}

// cleaning is how far a point's clean-up has come.
type cleaning struct {
	jobs, snapshots, uploads bool // ended, removed or left behind, reclaimed
	// trouble is what keeps uploads from being reclaimed; nil: nothing.
	trouble *WorkError
	texts   []string
}

func (c cleaning) done() bool { return c.jobs && c.snapshots && c.uploads }

// waits says what is waited for, or was left behind.
func (c cleaning) waits() string { return strings.Join(c.texts, "; ") }

func (c *cleaning) say(text string) {
	if text != "" {
		c.texts = append(c.texts, text)
	}
}

// clean ends a point's jobs, then removes its engine snapshots and, if asked,
// its uploads.
func (p *backupPlan) clean(reclaim bool, tries int32) (c cleaning) {
	if p.st.StartedAt == nil {
		return cleaning{jobs: true, snapshots: true, uploads: true}
	}
	p.keepCut()
	if running := p.endJobs(); len(running) > 0 {
		c.say("waiting for jobs that run to end: " + strings.Join(running, ", "))
		return c
	}
	c.jobs = true
	var text string
	c.snapshots, text = p.removeSnapshots(tries, func(v1alpha1.BackupDisk) bool { return true })
	c.say(text)
	c.uploads = true
	if reclaim {
		c.uploads, text, c.trouble = p.reclaim()
		c.say(text)
	}
	return c
}

// keepCut takes over which snapshots a cut job may have left, since the job may
// go before they do. While it still runs its agent, or the next one, may come to
// a higher number.
func (p *backupPlan) keepCut() {
	job := find(p.v.Jobs, kindCut, p.owner(), "", 1)
	if job == nil || job.Status.Cut == nil || job.Status.Cut.Number == 0 || p.st.CutAt != nil {
		return
	}
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		d.Snapshot = names.Snapshot(p.v.Backup.UID, job.Status.Cut.Number, d.Name)
	}
}

// endJobs withdraws the jobs that nobody has claimed and tells which still run.
// A running transfer cannot be stopped, only waited for: what it wrote after
// the reclaim would stay for ever.
func (p *backupPlan) endJobs() (running []string) {
	for i := range p.v.Jobs {
		j := &p.v.Jobs[i]
		if Finished(j) || j.Spec.RemoveSnapshots != nil {
			continue
		}
		if j.Status.State == v1alpha1.JobPending || judge(j, p.v.Now, p.v.Config.JobGrace) != nil {
			p.a.DeleteJobs = append(p.a.DeleteJobs, j.Name)
			continue
		}
		running = append(running, j.Name)
	}
	if len(p.a.DeleteJobs) > 0 && len(running) == 0 {
		// An agent may claim one of them at this moment: look once more.
		running = p.a.DeleteJobs
	}
	return running
}

// reclaim removes the document, the draft and every attempt's backup.
func (p *backupPlan) reclaim() (gone bool, text string, trouble *WorkError) {
	if p.v.Target == nil && !p.inCluster() {
		text = fmt.Sprintf("BackupTarget %q is gone, so the data on it cannot be removed: create it again, or set spec.deletionPolicy to Retain", p.v.Backup.Spec.Target)
		return false, text, &WorkError{Reason: rules.TargetNotFound, Message: text}
	}
	o, err := p.a.work(p.v.Now, p.v.Config, p.v.Work, Order{Work: Work{Op: OpDeletePoint}, Backups: p.attempts()}, -1)
	switch {
	case o == done:
		return true, "", nil
	case err != nil:
		return false, fmt.Sprintf("the point could not be removed from %s: %s; trying again", p.place(), err.Message), err
	}
	return false, "removing the point from " + p.place(), nil
}

// removeSnapshots removes the engine snapshots of the disks that want it, one
// job per volume. A snapshot that cannot be removed is left behind and told.
func (p *backupPlan) removeSnapshots(tries int32, want func(v1alpha1.BackupDisk) bool) (finished bool, text string) {
	finished = true
	var texts []string
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		list := snapshots(p.v.Backup.UID, d)
		if len(list) == 0 || !want(*d) {
			continue
		}
		if p.v.Gone[d.Volume] {
			d.Snapshot = ""
			continue
		}
		over, text := p.removeOne(d, list, tries)
		finished = finished && over
		if text != "" {
			texts = append(texts, text)
		}
	}
	return finished, strings.Join(texts, "; ")
}

func (p *backupPlan) removeOne(d *v1alpha1.BackupDisk, list []string, tries int32) (over bool, text string) {
	n := int32(1)
	for find(p.v.Jobs, kindRemove, p.owner(), d.Name, n+1) != nil {
		n++
	}
	doing := "removing engine snapshots of disk " + d.Name
	job := find(p.v.Jobs, kindRemove, p.owner(), d.Name, n)
	if job == nil {
		p.a.CreateJobs = append(p.a.CreateJobs, p.removeJob(d, list, n))
		return false, doing
	}
	if job.Status.State == v1alpha1.JobSucceeded {
		d.Snapshot = ""
		return true, ""
	}
	bad := judge(job, p.v.Now, p.v.Config.JobGrace)
	if bad == nil {
		return false, p.a.waitsFor(job, p.v.Waits, doing)
	}
	if n >= tries {
		return true, fmt.Sprintf("engine snapshots of disk %s on volume %s are left behind: %s", d.Name, d.Volume, bad.message)
	}
	if wait := remaining(p.v.Now, bad.at, backoff(p.v.Config.RetryAfter, p.v.Config.RetryMax, 4, int(n))); wait > 0 {
		p.a.again(wait)
		return false, fmt.Sprintf("%s: %s; trying again", doing, bad.message)
	}
	p.a.CreateJobs = append(p.a.CreateJobs, p.removeJob(d, list, n+1))
	return false, doing
}

func (p *backupPlan) removeJob(d *v1alpha1.BackupDisk, list []string, attempt int32) *v1alpha1.NodeJob {
	j := p.newJob(kindRemove, d.Name, attempt, p.v.Config.RemoveDeadline)
	j.Spec.RemoveSnapshots = &v1alpha1.RemoveSnapshotsJob{Volume: d.Volume, Snapshots: list}
	return j
}
