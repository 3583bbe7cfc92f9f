package plan

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/pkg/words"
)

// A point of type Snapshot is cut like any other and stays where it was cut: no
// target, no transfer. Its document lies in a Secret beside the VMBackup. What
// proves its disks is the cut job, which ends well only when every replica in use
// showed every snapshot after the last one was cut.

// Kept is what was found of a point of type Snapshot.
type Kept struct {
	// Losses are what is missing.
	Losses []Loss
	// VMGone is since when its VM is seen to be gone; zero: it exists.
	VMGone time.Time
	// Listed are the disks whose engine snapshots Longhorn shows.
	Listed []string
}

// Loss is something that a point of type Snapshot needs and that is missing.
type Loss struct {
	Disk string
	// What is missing, a sentence without its end.
	What string
	// Since is when this leader first saw it missing, without a look since at
	// which it was there.
	Since time.Time
	// Doubtful: that it is missing says only Longhorn's list of what the engine has,
	// which has never shown it and may be older than the cut.
	Doubtful bool
}

// inCluster: the point is kept in the cluster.
func (p *backupPlan) inCluster() bool { return p.v.Backup.Spec.Type == v1alpha1.TypeSnapshot }

// place is where the point's document lies, for a sentence.
func (p *backupPlan) place() string {
	if p.inCluster() {
		return "Secret " + names.PointSecret(p.v.Backup.UID)
	}
	return "target " + p.v.Backup.Spec.Target
}

// whole says what a Ready point is.
func (p *backupPlan) whole(f *Finalized) string {
	secrets := f.Secrets
	switch {
	case p.inCluster() && secrets > 0:
		return fmt.Sprintf("all disks are cut and stay in the VM's volumes; %s holds the VM's definition with copies of %s", p.place(), words.Count(secrets, "Secret"))
	case p.inCluster():
		return fmt.Sprintf("all disks are cut and stay in the VM's volumes; %s holds the VM's definition", p.place())
	case secrets > 0:
		return fmt.Sprintf("all disks and the VM's definition are on the target; it holds %s, which %s not encrypted: whoever can read the target can read %s",
			words.Count(secrets, "Secret"), words.Verb(secrets, "is", "are"), words.Verb(secrets, "it", "them"))
	case f.Sealed > 0:
		return fmt.Sprintf("all disks and the VM's definition are on the target; it holds %s, encrypted", words.Count(f.Sealed, "Secret"))
	}
	return "all disks and the VM's definition are on the target"
}

// defining has the document made of what was captured and cut. What was cut is
// written down first: the document is made of it.
func (p *backupPlan) defining() {
	p.st.Phase = v1alpha1.BackupVerifying
	p.a.Cosmetic = p.v.Backup.Status.Phase == v1alpha1.BackupVerifying
	p.working("all disks are cut; writing the VM's definition to %s", p.place())
	p.verify()
}

// keep looks after a point that was Ready once. It goes with its VM, as in
// Harvester: without the VM's claims there would be nothing of it. When a volume
// or an engine snapshot is gone, it says so.
func (p *backupPlan) keep() {
	c := p.v.Config
	p.a.DropJobs = len(p.v.Jobs) > 0
	if gone := p.v.Kept.VMGone; !gone.IsZero() {
		if wait := remaining(p.v.Now, gone, c.LossGrace); wait > 0 {
			p.a.again(wait)
			return
		}
		p.a.tell(ReasonSourceDeleted, fmt.Sprintf("VM %s was deleted, and its snapshots go with it", p.v.Backup.Spec.VM))
		p.remove = true
		return
	}
	p.a.again(c.LookEvery)
	if at := p.st.CompletedAt; at != nil {
		// Until then Longhorn may not have seen what was cut.
		if wait := remaining(p.v.Now, at.Time, c.LossGrace); wait > 0 {
			p.a.again(wait)
		}
	}
	if p.st.Phase == v1alpha1.BackupDataLost {
		return
	}
	for _, name := range p.v.Kept.Listed {
		if d := p.disk(name); d != nil && !d.Listed {
			d.Listed, p.a.Cosmetic = true, true
		}
	}
	var lost []string
	for _, l := range p.v.Kept.Losses {
		grace := c.LossGrace
		if l.Doubtful { // Longhorn's manager may be busy, or away
			grace = max(grace, c.LookEvery)
		}
		if wait := remaining(p.v.Now, l.Since, grace); wait > 0 {
			p.a.again(wait)
			continue
		}
		lost = append(lost, fmt.Sprintf("disk %s: %s", l.Disk, l.What))
		if d := p.disk(l.Disk); d != nil {
			d.State, d.Message = v1alpha1.DiskFailed, l.What
		}
	}
	if len(lost) == 0 {
		return
	}
	message := strings.Join(lost, "; ") + "; this point cannot be restored any more: delete it"
	p.st.Phase, p.a.Cosmetic = v1alpha1.BackupDataLost, false
	set(&p.st.Conditions, p.v.Now, p.v.Backup.Generation, v1alpha1.ConditionReady, metav1.ConditionFalse, ReasonDataLost, message)
	p.a.warn(ReasonDataLost, message)
}
