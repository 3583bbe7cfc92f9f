package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/pkg/words"
)

// BackupView is what a decision about a VMBackup looks at.
type BackupView struct {
	Now    time.Time
	Backup *v1alpha1.VMBackup
	// Target is nil when there is no such BackupTarget, and for type Snapshot.
	Target *v1alpha1.BackupTarget
	Probe  Probe
	// Source is only looked at while nothing has been done yet; nil: there is
	// no such VM.
	Source *rules.Source
	// Uses say why the target takes no point from here; looked at with Source.
	Uses []rules.Refusal
	// Elsewhere maps a volume -> what Elsewhere says of the other points of the VM.
	Elsewhere map[string][]string
	// Space is what the limits of the namespace say, looked at with Source.
	Space Space
	// Jobs of this point, and what those wait for that no agent has begun, by
	// name.
	Jobs  []v1alpha1.NodeJob
	Waits map[string]string
	Work  Works
	// Finalized is what OpFinalize returned.
	Finalized *Finalized
	// Moved tells of disks that are on another volume than in the VM's latest
	// earlier point on this target: disk -> that volume.
	Moved map[string]string
	// Readers are the VMRestores that read this point, and GoesWith names what is
	// being deleted around it, its namespace or its kind; both are looked at only
	// when it is being deleted.
	Readers  []string
	GoesWith string
	// Newer are the Ready points of the same VM on the same target that were
	// cut later; looked at when this one is Ready.
	Newer []v1alpha1.VMBackup
	// Earlier are those that may have been cut before; looked at while this
	// one's disks are moved.
	Earlier []v1alpha1.VMBackup
	// Gone are the Longhorn volumes of this point that do not exist any more.
	Gone map[string]bool
	// Kept is what a look at a point of type Snapshot that was Ready once has found.
	Kept   Kept
	Config Config
}

// Space is what a new point is expected to take of the cluster's storage, and
// which limits that would break. It is zero where there are no limits.
type Space struct {
	ExpectedBytes int64
	Refusals      []string
}

// Probe is what is known of a target from its last probe.
type Probe struct {
	// Known: a probe ended lately enough to count.
	Known bool
	// Failures in a row.
	Failures int
	Err      *WorkError
}

// Finalized is what the target worker found when it inspected a whole point.
type Finalized struct {
	Path, Digest string
	Disks        map[string]FinalizedDisk // disk -> result
	Secrets      int                      // readable
	Sealed       int                      // encrypted
}

// FinalizedDisk is one disk as it is on the target.
type FinalizedDisk struct {
	UploadedBytes int64
	Incremental   bool
}

// BackupIntent is what is to be done for a VMBackup.
type BackupIntent struct {
	Actions
	Status v1alpha1.VMBackupStatus
	// Delete asks for the VMBackup to be deleted.
	Delete bool
	// Tombstone is written before the finalizer is dropped; nil: none.
	Tombstone *Tombstone
}

// Backup decides about one VMBackup.
func Backup(v BackupView) BackupIntent {
	p := &backupPlan{v: v, st: *v.Backup.Status.DeepCopy()}
	switch {
	case !v.Backup.DeletionTimestamp.IsZero():
		p.deletion()
	case p.inCluster() && (p.st.Phase == v1alpha1.BackupReady || p.st.Phase == v1alpha1.BackupDataLost):
		p.keep()
	case p.st.Phase == v1alpha1.BackupReady:
		p.ready()
	case p.st.Phase == v1alpha1.BackupMissing, p.st.Phase == v1alpha1.BackupDamaged:
		// Its document may be seen again: whoever looks through the target says so. And
		// who verifies it may find it whole.
		p.a.DropJobs = len(p.v.Jobs) > 0
	case failure(p.st.Conditions) != nil:
		p.failing()
	case v.Backup.Spec.Cancel:
		p.fail("", ReasonCancelled, "cancelled (spec.cancel) while it stood at: "+standing(p.st.Conditions))
	case overdue(v.Now, v.Backup.CreationTimestamp, p.st.StartedAt, v.Config.PointDeadline):
		p.fail("", ReasonDeadline, fmt.Sprintf("the backup was not done within %s; it stood at: %s", v.Config.PointDeadline, standing(p.st.Conditions)))
	case p.st.StartedAt == nil:
		p.pending()
	case p.st.Phase == v1alpha1.BackupCutting:
		p.cutting()
	case p.inCluster():
		p.defining()
	default:
		p.uploading()
	}
	p.st.ObservedGeneration = v.Backup.Generation
	return BackupIntent{Actions: p.a, Status: p.st, Delete: p.remove, Tombstone: p.tombstone}
}

type backupPlan struct {
	v    BackupView
	st   v1alpha1.VMBackupStatus
	a    Actions
	left []string // what failed attempts left on the target
	// remove: the VMBackup is to be deleted.
	remove    bool
	tombstone *Tombstone
}

func (p *backupPlan) owner() v1alpha1.ObjectReference {
	b := p.v.Backup
	return v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: b.Namespace, Name: b.Name, UID: b.UID}
}

func (p *backupPlan) progressing(status metav1.ConditionStatus, reason, message string) {
	set(&p.st.Conditions, p.v.Now, p.v.Backup.Generation, v1alpha1.ConditionProgressing, status, reason, message)
}

func (p *backupPlan) working(format string, args ...any) {
	p.progressing(metav1.ConditionTrue, ReasonWorking, fmt.Sprintf(format, args...))
}

// waiting is said before anything was done; it may be written a little later.
func (p *backupPlan) waiting(format string, args ...any) {
	p.st.Phase = v1alpha1.BackupPending
	p.a.Cosmetic = true
	p.progressing(metav1.ConditionTrue, ReasonWaiting, fmt.Sprintf(format, args...))
}

// pending refuses, or waits, or begins. Nothing outside has been touched yet.
func (p *backupPlan) pending() {
	facts := rules.BackupFacts{Backup: p.v.Backup, Target: p.v.Target, Source: p.v.Source, Space: p.v.Space.Refusals, Uses: p.v.Uses}
	if refusals := rules.Backup(facts); len(refusals) > 0 {
		p.fail("", refusals[0].Reason, rules.Sentences(refusals))
		return
	}
	if wait := p.v.Source.Wait; wait != "" {
		p.waiting("waiting: %s", wait)
		p.a.again(2 * time.Second)
		return
	}
	if !p.inCluster() && !p.targetGood() {
		return
	}
	p.begin()
}

// targetGood asks for a probe unless a fresh one is known, and fails the point
// on a bad one.
func (p *backupPlan) targetGood() bool {
	pr := p.v.Probe
	switch {
	case !pr.Known:
		p.a.Probe = true
		p.waiting("checking target %s", p.v.Backup.Spec.Target)
	case pr.Err == nil:
		return true
	case pr.Err.Transient && pr.Failures < p.v.Config.ProbeTries:
		p.a.Probe = true
		p.waiting("target %s is not ready (%s); trying again", p.v.Backup.Spec.Target, pr.Err.Message)
	default:
		r := rules.TargetAnswer(p.v.Backup.Spec.Target, pr.Err.Reason, pr.Err.Message)
		p.fail("", r.Reason, r.Sentence)
	}
	return false
}

func (p *backupPlan) begin() {
	s := p.v.Source
	now := metav1.NewTime(p.v.Now)
	p.st.StartedAt = &now
	p.st.SourceUID = s.VMUID
	p.st.Phase = v1alpha1.BackupCutting
	if expected := p.v.Space.ExpectedBytes; expected > 0 {
		p.st.ReservedBytes = &expected
	}
	p.st.Disks = nil
	for _, d := range s.Disks {
		p.st.Disks = append(p.st.Disks, v1alpha1.BackupDisk{
			Name: d.Name, Claim: d.Claim, Volume: d.Volume, SizeBytes: d.SizeBytes,
			State: v1alpha1.DiskPending, BackingImage: d.BackingImage, Shape: &d.Shape,
		})
	}
	if other := p.otherCut(); other != nil {
		p.st = *p.v.Backup.Status.DeepCopy()
		p.a.DeleteJobs = []string{other.Name}
		p.waiting("waiting: the VM was changed since job %s was made, which is made again", other.Name)
		p.a.again(lookAgain)
		return
	}
	p.a.AddFinalizer = true
	p.a.Labels = map[string]string{v1alpha1.LabelVM: p.v.Backup.Spec.VM}
	started := "backing up %s of VM %s to target " + p.v.Backup.Spec.Target
	if p.inCluster() {
		started = "taking a snapshot of %s of VM %s"
	}
	p.a.tell("Started", fmt.Sprintf(started, words.Count(len(s.Disks), "disk"), p.v.Backup.Spec.VM))
	for _, w := range s.Warnings {
		p.a.warn("NotInBackup", w)
	}
	p.cutting()
}

// cutting waits for the one cut job. The VM is captured at the same time.
func (p *backupPlan) cutting() {
	if p.captured() == gaveUp {
		return
	}
	job := find(p.v.Jobs, kindCut, p.owner(), "", 1)
	doing := "cutting snapshots of " + words.Count(len(p.st.Disks), "disk")
	if other := p.otherCut(); other != nil {
		p.a.DeleteJobs = append(p.a.DeleteJobs, other.Name)
		p.working("%s", doing)
		p.a.again(lookAgain)
		return
	}
	if job == nil {
		p.a.CreateJobs = append(p.a.CreateJobs, p.cutJob())
		p.working("%s", doing)
		return
	}
	if bad := judge(job, p.v.Now, p.v.Config.JobGrace); bad != nil {
		bad = p.sourceDeleted(bad, p.st.Disks...)
		p.fail("", bad.reason, "the disks could not be cut: "+bad.message)
		return
	}
	if job.Status.State != v1alpha1.JobSucceeded {
		p.working("%s", p.a.waitsFor(job, p.v.Waits, doing))
		p.a.Cosmetic = p.v.Backup.Status.Phase == v1alpha1.BackupCutting
		return
	}
	if missing := p.recordCut(job.Status.Cut); missing != "" {
		p.fail(missing, v1alpha1.ReasonInvalidJob, fmt.Sprintf("the cut job succeeded without naming a snapshot of disk %s: is an agent of another version running?", missing))
		return
	}
	if p.inCluster() {
		p.defining()
		return
	}
	p.st.Phase = v1alpha1.BackupUploading
	p.uploading()
}

func (p *backupPlan) cutJob() *v1alpha1.NodeJob {
	j := p.newJob(kindCut, "", 1, p.v.Config.CutDeadline)
	b := p.v.Backup
	j.Spec.Cut = &v1alpha1.CutJob{
		WindowMilliseconds: p.v.Config.CutWindow.Milliseconds(),
		Guest: &v1alpha1.CutGuest{
			Namespace: b.Namespace, VM: b.Spec.VM, VMUID: p.st.SourceUID,
			Policy: b.Spec.Quiesce.Policy, Method: b.Spec.Quiesce.Method, DeadlineSeconds: max(1, b.Spec.Quiesce.DeadlineSeconds),
		},
	}
	for _, d := range p.st.Disks {
		j.Spec.Cut.Disks = append(j.Spec.Cut.Disks, v1alpha1.CutDisk{Name: d.Name, Volume: d.Volume})
	}
	return j
}

// recordCut takes the cut's result over; it returns a disk that it lacks.
func (p *backupPlan) recordCut(c *v1alpha1.CutStatus) (missing string) {
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		if c == nil || c.Snapshots[d.Name] == "" {
			return d.Name
		}
		d.Snapshot, d.State = c.Snapshots[d.Name], v1alpha1.DiskCut
	}
	window := (c.WindowMicroseconds + 999) / 1000
	p.st.CutAt, p.st.CutWindowMilliseconds = c.StartedAt, &window
	p.st.Consistency, p.st.ConsistencyMessage, p.st.Hooks = c.Consistency, c.ConsistencyMessage, c.Hooks
	if c.Consistency == "" { // an agent that knows of no guests
		p.st.Consistency = v1alpha1.ConsistencyCrash
	}
	if c.FrozenMicroseconds > 0 {
		frozen := (c.FrozenMicroseconds + 999) / 1000
		p.st.FrozenMilliseconds = &frozen
	}
	return ""
}

// captured looks at the capture of the VM; a failed one fails the point.
func (p *backupPlan) captured() outcome {
	o, err := p.a.work(p.v.Now, p.v.Config, p.v.Work, Order{Work: Work{Op: OpCapture}}, p.v.Config.WorkPatience)
	switch {
	case o == gaveUp && err.Reason == reasonNotFound:
		p.fail("", ReasonSourceDeleted, fmt.Sprintf("VM %s, or a claim of it, was deleted before its definition was written to %s: %s", p.v.Backup.Spec.VM, p.place(), err.Message))
	case o == gaveUp:
		p.fail("", err.Reason, "the VM's definition could not be written to "+p.place()+": "+err.Message)
	}
	return o
}

// disk returns a disk by name.
func (p *backupPlan) disk(name string) *v1alpha1.BackupDisk {
	i := slices.IndexFunc(p.st.Disks, func(d v1alpha1.BackupDisk) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &p.st.Disks[i]
}

// attempts are the backups that may be on the target, of every attempt.
func (p *backupPlan) attempts() []BackupRef {
	var out []BackupRef
	for _, d := range p.st.Disks {
		if p.v.Backup.Spec.Found != nil && d.Backup != "" {
			out = append(out, BackupRef{Volume: d.Volume, Backup: d.Backup}) // it knows of no other attempts
		}
		for n := int32(1); n <= d.Attempt; n++ {
			out = append(out, BackupRef{Volume: d.Volume, Backup: names.Backup(p.v.Backup.UID, d.Name, n)})
		}
	}
	return out
}

// fail records the cause, on which the clean-up follows.
func (p *backupPlan) fail(disk, reason, message string) {
	if d := p.disk(disk); d != nil {
		d.State, d.Message = v1alpha1.DiskFailed, message
	}
	if reason == "" {
		reason = "Failed"
	}
	set(&p.st.Conditions, p.v.Now, p.v.Backup.Generation, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	p.a = Actions{Events: append(p.a.Events, Event{Type: corev1.EventTypeWarning, Reason: "Failed", Message: message})}
	p.failing()
}
