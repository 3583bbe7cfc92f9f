package plan

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// uploading moves every disk forward and, when all are transferred, has the
// target worker look.
func (p *backupPlan) uploading() {
	if p.capturing() && p.captured() == gaveUp {
		return
	}
	var busy []string
	quiet := true // no new attempt; everything else stands in the jobs too
	dropped := true
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		attempt := d.Attempt
		cause := p.upload(d)
		if cause != nil {
			p.fail(d.Name, cause.reason, fmt.Sprintf("disk %s: %s", d.Name, cause.message))
			return
		}
		quiet = quiet && d.Attempt == attempt
		if d.State != v1alpha1.DiskTransferred {
			busy = append(busy, d.Message)
		}
		dropped = p.dropFormer(d, firstLook) && dropped
	}
	p.sum()
	if len(busy) > 0 {
		p.st.Phase = v1alpha1.BackupUploading
		p.working("%s", strings.Join(busy, "; "))
		p.a.Cosmetic = quiet && p.v.Backup.Status.Phase == v1alpha1.BackupUploading
		return
	}
	p.st.Phase = v1alpha1.BackupVerifying
	p.a.Cosmetic = true // what it rests on is in the jobs
	p.working("all disks are transferred; checking them on the target")
	if !dropped {
		p.working("all disks are transferred; removing what failed attempts left on the target")
		return
	}
	p.verify()
}

// upload moves one disk forward; it returns the cause when the disk cannot be
// backed up.
func (p *backupPlan) upload(d *v1alpha1.BackupDisk) *verdict {
	if d.Attempt == 0 {
		p.attempt(d, 1)
	}
	job := find(p.v.Jobs, kindBackup, p.owner(), d.Name, d.Attempt)
	if job == nil {
		p.a.CreateJobs = append(p.a.CreateJobs, p.backupJob(d))
		d.Message = "backing up disk " + d.Name
		return nil
	}
	if t := job.Status.Transfer; t != nil {
		d.Incremental = t.Incremental
		if t.Progress != nil {
			d.Progress = t.Progress.DeepCopy()
		}
	}
	if job.Status.State == v1alpha1.JobSucceeded {
		if t := job.Status.Transfer; t != nil && t.SupersededRemoved {
			d.Superseded = job.Spec.Backup.Superseded
		}
		d.State, d.Message = v1alpha1.DiskTransferred, ""
		return nil
	}
	bad := judge(job, p.v.Now, p.v.Config.JobGrace)
	if bad == nil {
		d.State, d.Message = v1alpha1.DiskTransferring, p.a.waitsFor(job, p.v.Waits, "backing up disk "+d.Name)
		return nil
	}
	if p.adopt(d, bad) {
		return nil
	}
	if bad = p.sourceDeleted(bad, *d); bad.reason == ReasonSourceDeleted {
		return bad
	}
	return p.again(d, bad)
}

// again gives a disk another attempt, or the cause back when there is none
// left.
func (p *backupPlan) again(d *v1alpha1.BackupDisk, bad *verdict) *verdict {
	in := interrupted(d.Attempt, func(n int32) *v1alpha1.NodeJob { return find(p.v.Jobs, kindBackup, p.owner(), d.Name, n) })
	pause, over := in.next(p.v.Now, p.v.Config, d.Attempt, bad)
	if over {
		return bad
	}
	p.drop(d, d.Attempt, firstLook)
	if wait := remaining(p.v.Now, bad.at, pause); wait > 0 {
		d.Message = fmt.Sprintf("attempt %d of disk %s failed (%s: %s); trying again", d.Attempt, d.Name, bad.reason, bad.message)
		p.a.again(wait)
		return nil
	}
	p.a.warn("Retrying", fmt.Sprintf("attempt %d of disk %s failed: %s: %s", d.Attempt, d.Name, bad.reason, bad.message))
	p.attempt(d, d.Attempt+1)
	p.a.CreateJobs = append(p.a.CreateJobs, p.backupJob(d))
	d.Message = fmt.Sprintf("backing up disk %s, attempt %d", d.Name, d.Attempt)
	return nil
}

func (p *backupPlan) attempt(d *v1alpha1.BackupDisk, n int32) {
	d.Attempt, d.State = n, v1alpha1.DiskTransferring
	d.Backup = names.Backup(p.v.Backup.UID, d.Name, n)
	d.Progress, d.Incremental = nil, false
}

func (p *backupPlan) backupJob(d *v1alpha1.BackupDisk) *v1alpha1.NodeJob {
	b := p.v.Backup
	j := p.newJob(kindBackup, d.Name, d.Attempt, p.v.Config.TransferDeadline)
	j.Spec.Backup = &v1alpha1.BackupJob{
		Disk: d.Name, Volume: d.Volume, Snapshot: d.Snapshot, Backup: d.Backup, Target: b.Spec.Target,
		BackingImage: d.BackingImage, Superseded: p.superseded(d), Elsewhere: p.v.Elsewhere[d.Volume],
		Labels: map[string]string{v1alpha1.LabelPoint: string(b.UID), v1alpha1.LabelVM: b.Namespace + "/" + b.Spec.VM},
	}
	return j
}

// Looks for what a failed attempt left on the target. The last one comes when
// the point is whole: a replica that slept when its attempt was given up may
// have gone on since.
const (
	firstLook = ""
	lastLook  = "/last"
)

// drop removes the in-progress cfg that a failed attempt may have left on the
// target: one of them stops backupstore from ever freeing blocks of the volume.
func (p *backupPlan) drop(d *v1alpha1.BackupDisk, attempt int32, look string) bool {
	backup := names.Backup(p.v.Backup.UID, d.Name, attempt)
	o, err := p.a.work(p.v.Now, p.v.Config, p.v.Work, Order{
		Work: Work{Op: OpDropAttempt, Arg: backup + look}, Backups: []BackupRef{{Volume: d.Volume, Backup: backup}},
	}, p.v.Config.WorkPatience)
	if o == gaveUp && look == lastLook {
		// The point's own clean-up, or its deletion, removes it with the rest.
		p.left = append(p.left, fmt.Sprintf("attempt %d of disk %s could not be removed from the target: %s", attempt, d.Name, err.Message))
	}
	return o != pending
}

// dropFormer drops every attempt before the current one.
func (p *backupPlan) dropFormer(d *v1alpha1.BackupDisk, look string) bool {
	all := true
	for n := int32(1); n < d.Attempt; n++ {
		all = p.drop(d, n, look) && all
	}
	return all
}

// dropFormers does that for all disks.
func (p *backupPlan) dropFormers(look string) bool {
	all := true
	for i := range p.st.Disks {
		all = p.dropFormer(&p.st.Disks[i], look) && all
	}
	return all
}

// capturing: this leader had the VM captured. A new leader finds the draft on
// the target; capturing again would write down what the VM is by now, not what
// it was when it was cut.
func (p *backupPlan) capturing() bool {
	_, known := p.v.Work[Work{Op: OpCapture}]
	return known || p.v.Backup.Status.Phase == v1alpha1.BackupCutting
}

// verify has the whole point inspected and its document written.
func (p *backupPlan) verify() {
	captured := p.capturing()
	if captured && p.captured() != done {
		return
	}
	work := Work{Op: OpFinalize, Arg: p.finalizeArg(captured)}
	o, err := p.a.work(p.v.Now, p.v.Config, p.v.Work, Order{Work: work}, p.v.Config.WorkPatience)
	switch {
	case o == gaveUp && err.Reason == reasonNotFound && !captured:
		// The former leader was gone before it had the VM captured.
		p.captured()
	case o == gaveUp && p.inCluster():
		p.fail("", err.Reason, "the VM's definition could not be written to "+p.place()+": "+err.Message)
	case o == gaveUp:
		p.doubt(err)
	case o == pending && err != nil && p.inCluster():
		p.working("writing the VM's definition to %s: %s; trying again", p.place(), err.Message)
	case o == pending && err != nil:
		p.working("checking the disks on the target: %s; looking again", err.Message)
	case o == done && p.v.Finalized != nil && p.dropFormers(lastLook):
		p.finish(p.v.Finalized)
	}
}

// reasonNotFound is the target worker's, for a draft or backup that is not on
// the target.
const reasonNotFound = "NotFound"

// finalizeArg tells apart inspections of different attempts, and the one after
// a capture from the one before.
func (p *backupPlan) finalizeArg(captured bool) string {
	parts := []string{fmt.Sprint(captured)}
	for _, d := range p.st.Disks {
		parts = append(parts, d.Backup)
	}
	return strings.Join(parts, ",")
}

func (p *backupPlan) finish(f *Finalized) {
	now := metav1.NewTime(p.v.Now)
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		d.State, d.Message = v1alpha1.DiskDone, ""
		if r, ok := f.Disks[d.Name]; ok {
			d.UploadedBytes, d.Incremental = &r.UploadedBytes, r.Incremental
		}
		if d.Progress != nil {
			d.Progress.BytesDone = d.Progress.BytesTotal
		}
	}
	p.tellMoved()
	p.sum()
	p.st.ProgressText = "100%"
	p.st.Phase, p.st.CompletedAt = v1alpha1.BackupReady, &now
	p.st.Document, p.st.DocumentDigest = f.Path, f.Digest
	message := p.whole(f)
	set(&p.st.Conditions, p.v.Now, p.v.Backup.Generation, v1alpha1.ConditionReady, metav1.ConditionTrue, ReasonComplete, message)
	p.progressing(metav1.ConditionFalse, ReasonComplete, "done")
	p.a.Cosmetic = false
	p.a.DropJobs = true
	p.a.tell("Ready", message)
	for _, text := range p.left {
		p.a.warn("LeftOnTarget", text)
	}
}

// tellMoved says why a backup is full though its VM was backed up before: a
// volume that a restore has put in the place of another has no base.
func (p *backupPlan) tellMoved() {
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		if former := p.v.Moved[d.Name]; former != "" && !d.Incremental {
			d.Message = fmt.Sprintf("full backup: the disk is on volume %s now, the point before was of %s", d.Volume, former)
			p.a.tell("FullBackup", fmt.Sprintf("disk %s: %s", d.Name, d.Message))
		}
	}
}

func (p *backupPlan) sum() {
	var each []*v1alpha1.Progress
	for i := range p.st.Disks {
		each = append(each, p.st.Disks[i].Progress)
	}
	p.st.Progress, p.st.ProgressText = total(each)
}
