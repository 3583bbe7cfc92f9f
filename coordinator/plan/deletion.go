package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// Tombstone tells of a point whose VMBackup is gone and whose data is kept: it
// must not come back by itself when its target is looked through.
type Tombstone struct {
	// Target and Path are where the point's document lies.
	Target, Path string
	Point        types.UID
	// Namespace and Name of the VMBackup.
	Namespace, Name string
	// Reason is TombstoneRetained or TombstoneForced.
	Reason string
}

// Reasons of tombstones.
const (
	TombstoneRetained = "Retained" // spec.deletionPolicy Retain
	TombstoneForced   = "Forced"   // the annotation that forces a deletion
)

// reasonLocked is the target worker's, for a lock that ends by itself.
const reasonLocked = "Locked"

// deletion lets a VMBackup go after what it stands for is gone. Its data on the
// target goes only if the point itself was deleted, and not where its policy is
// Retain, or where its namespace or its kind goes: nobody has spoken about the
// data then. A point that never was whole has no data to keep; what it uploaded
// is reclaimed all the same, as long as the target lets it.
func (p *backupPlan) deletion() {
	if !slices.Contains(p.v.Backup.Finalizers, v1alpha1.FinalizerData) {
		// It never began, or was let go and is shown a moment longer: jobs that clean
		// up after it would be nobody's.
		p.a.DropJobs = len(p.v.Jobs) > 0
		return
	}
	p.st.Phase = v1alpha1.BackupDeleting
	if len(p.v.Readers) > 0 {
		p.progressing(metav1.ConditionTrue, ReasonWaiting, fmt.Sprintf(
			"waiting: this point is being read by VMRestore %s; it goes when that has ended, cancel or delete it if it is not wanted", strings.Join(p.v.Readers, ", ")))
		p.a.again(p.v.Config.WorkRetryMax)
		return
	}
	if p.v.Backup.Annotations[v1alpha1.AnnotationForceDeletion] == "true" {
		p.force()
		return
	}
	keep := p.v.GoesWith != "" || p.v.Backup.Spec.DeletionPolicy == v1alpha1.DeletionRetain
	reclaim := !keep || !p.inCluster() && !p.maybeWhole()
	c := p.clean(reclaim, 2*p.v.Config.RemoveAttempts)
	switch {
	case c.done():
		if waits := c.waits(); waits != "" {
			p.a.warn("LeftBehind", waits)
		}
	case p.impatient(c, keep):
		p.a.warn("LeftBehind", "let go after "+p.v.Config.DeletePatience.String()+" of waiting: "+c.waits())
	default:
		p.held(c, keep)
		return
	}
	if keep && p.v.GoesWith == "" {
		p.bury(TombstoneRetained)
	}
	if p.v.GoesWith != "" && p.maybeWhole() && !p.inCluster() {
		p.a.tell("DataKept", fmt.Sprintf("%s is being deleted, which deletes no data on target %s", p.v.GoesWith, p.v.Backup.Spec.Target))
	}
	p.depart()
}

// maybeWhole: the point is on its target as a whole, or may be: its document is
// written before anything says so.
func (p *backupPlan) maybeWhole() bool {
	if p.st.Document != "" {
		return true
	}
	if len(p.st.Disks) == 0 || failure(p.st.Conditions) != nil {
		return false
	}
	for _, d := range p.st.Disks {
		if d.State != v1alpha1.DiskTransferred && d.State != v1alpha1.DiskDone {
			return false
		}
	}
	return true
}

// impatient: what is left is not waited for any longer. A user's own word about
// a whole point is never dropped so; he can withdraw it.
func (p *backupPlan) impatient(c cleaning, keep bool) bool {
	left := remaining(p.v.Now, p.v.Backup.DeletionTimestamp.Time, p.v.Config.DeletePatience)
	switch {
	case p.v.GoesWith != "":
	case !c.jobs || !c.snapshots || c.trouble == nil || c.trouble.Reason == reasonLocked:
		return false
	case p.maybeWhole() && !keep:
		return false
	case !c.trouble.Transient:
		return true
	}
	if left > 0 {
		p.a.again(left)
	}
	return left == 0
}

// held says what a deletion waits for, and what can be done about it. An event
// tells when the target begins to hold it up.
func (p *backupPlan) held(c cleaning, keep bool) {
	text := c.waits()
	if c.trouble == nil || c.trouble.Reason == reasonLocked {
		p.progressing(metav1.ConditionTrue, ReasonCleaningUp, text)
		return
	}
	switch {
	case p.maybeWhole() && !keep && p.v.Target != nil:
		text += fmt.Sprintf(`; to let the object go and leave the data on the target: hayloft delete backup %s --keep-data (spec.deletionPolicy: Retain)`, p.v.Backup.Name)
	case !p.maybeWhole():
		text += fmt.Sprintf("; the point never was whole, so the object goes in any case %s after its deletion", p.v.Config.DeletePatience)
	}
	p.progressing(metav1.ConditionTrue, ReasonDeletionHeldUp, text)
	before := meta.FindStatusCondition(p.v.Backup.Status.Conditions, v1alpha1.ConditionProgressing)
	if before == nil || before.Reason != ReasonDeletionHeldUp {
		p.a.warn(ReasonDeletionHeldUp, text)
	}
}

// force lets the object go at once, with all that it stands for left where it
// is. Its jobs go with it: a transfer that an engine has begun ends by itself.
func (p *backupPlan) force() {
	var left []string
	if len(p.st.Disks) > 0 {
		p.keepCut()
		for i := range p.st.Disks {
			if d := &p.st.Disks[i]; d.Snapshot != "" && !p.v.Gone[d.Volume] {
				left = append(left, fmt.Sprintf("engine snapshot %s of volume %s", d.Snapshot, d.Volume))
			}
		}
		if !p.inCluster() {
			left = append(left, "what is on target "+p.v.Backup.Spec.Target)
		}
	}
	if len(left) > 0 {
		p.a.warn("LeftBehind", "the deletion was forced, which left behind: "+strings.Join(left, ", "))
	}
	p.bury(TombstoneForced)
	p.depart()
}

// bury leaves a tombstone of a point whose document stays on its target.
func (p *backupPlan) bury(reason string) {
	if p.inCluster() || !p.maybeWhole() {
		return
	}
	b, path := p.v.Backup, p.st.Document
	if path == "" {
		path, _ = document.PointPath(b.Namespace, b.Name, b.UID) // written perhaps, though nobody lived to note it
	}
	point := b.UID
	if b.Spec.Found != nil {
		point = b.Spec.Found.UID
	}
	p.tombstone = &Tombstone{Target: b.Spec.Target, Path: path, Point: point, Namespace: b.Namespace, Name: b.Name, Reason: reason}
}

// depart is the end: the object goes now, so there is nothing to write.
func (p *backupPlan) depart() {
	p.st = *p.v.Backup.Status.DeepCopy()
	p.a.CreateJobs, p.a.DeleteJobs, p.a.Start = nil, nil, nil
	p.a.DropJobs = len(p.v.Jobs) > 0
	p.a.DropFinalizer = true
}
