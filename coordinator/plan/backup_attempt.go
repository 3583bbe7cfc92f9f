package plan

import (
	"fmt"

	"hayloft.dev/pkg/api/v1alpha1"
)

// inspectAttempt has a disk's current attempt looked for on the target: done is
// that it is whole there.
func (p *backupPlan) inspectAttempt(d *v1alpha1.BackupDisk) (outcome, *WorkError) {
	return p.a.work(p.v.Now, p.v.Config, p.v.Work, Order{
		Work: Work{Op: OpInspectAttempt, Arg: d.Backup}, Backups: []BackupRef{{Volume: d.Volume, Backup: d.Backup}},
	}, p.v.Config.WorkPatience)
}

// adopt takes over an attempt that failed without anybody having seen how its
// transfer ended, if the target has it whole: nothing is uploaded twice. It is
// true while that is not decided, too.
func (p *backupPlan) adopt(d *v1alpha1.BackupDisk, bad *verdict) bool {
	if !bad.retryable || bad.reason == v1alpha1.ReasonTargetError {
		return false // its end was seen
	}
	switch o, _ := p.inspectAttempt(d); o {
	case done:
		d.State, d.Message = v1alpha1.DiskTransferred, ""
		return true
	case pending:
		d.Message = fmt.Sprintf("attempt %d of disk %s failed (%s: %s); looking what of it is on the target", d.Attempt, d.Name, bad.reason, bad.message)
		return true
	}
	return false
}

// doubt follows on an inspection of all disks that failed: the engine called a
// backup complete that the target does not have. Such disks get another attempt.
func (p *backupPlan) doubt(cause *WorkError) {
	bad, waiting := map[string]*WorkError{}, false // disk -> what is wrong with it
	if notWhole(cause) {
		for i := range p.st.Disks {
			d := &p.st.Disks[i]
			switch o, err := p.inspectAttempt(d); {
			case o == pending:
				waiting = true
			case o == gaveUp && notWhole(err):
				bad[d.Name] = err
			}
		}
	}
	switch {
	case waiting:
		p.working("not every disk is whole on the target (%s); looking which", cause.Message)
		return
	case len(bad) == 0:
		p.fail("", cause.Reason, "the disks did not arrive whole on the target: "+cause.Message)
		return
	}
	p.st.Phase, p.a.Cosmetic = v1alpha1.BackupUploading, false
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		err := bad[d.Name]
		if err == nil {
			continue
		}
		if last := p.again(d, &verdict{reason: err.Reason, message: err.Message, retryable: true}); last != nil {
			p.fail(d.Name, last.reason, last.message)
			return
		}
		p.working("%s, since the engine called the last one complete and it is not: %s", d.Message, err.Message)
	}
}

// notWhole: the target answered, and does not have what it should.
func notWhole(err *WorkError) bool {
	switch err.Reason {
	case reasonNotFound, "InProgress", "Damaged", "Mismatch":
		return true
	}
	return false
}
