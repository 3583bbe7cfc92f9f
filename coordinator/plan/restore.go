package plan

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// RestoreView is what a decision about a VMRestore looks at.
type RestoreView struct {
	Now     time.Time
	Restore *v1alpha1.VMRestore
	// Backup and Target are nil when there are none of that name; Target also for
	// a point of type Snapshot.
	Backup *v1alpha1.VMBackup
	Target *v1alpha1.BackupTarget
	// Place is only looked at while nothing has been done yet.
	Place rules.Place
	// Origin is what the point's document says; nil until it was read.
	Origin *Origin
	// Inspected maps a disk -> the size in bytes that a volume must have to be
	// restored into: what OpInspectBackups returned, or for a point of type
	// Snapshot the size of the source volume, since an engine clones only into
	// its like.
	Inspected map[string]int64
	// Jobs of this restore, and what those wait for that no agent has begun, by
	// name.
	Jobs  []v1alpha1.NodeJob
	Waits map[string]string
	Work  Works
	// Volumes are the Longhorn volumes of the current attempts that exist.
	Volumes map[string]VolumeFact
	// Stale are volumes of earlier attempts that still exist.
	Stale []DeleteVolume
	// Replicas of the volumes whose restore has ended, volume -> names of all
	// Longhorn Replica objects, read live.
	Replicas map[string][]string
	// Made tells of the objects that Building makes.
	Made Made
	// Replaced is the VM that is to be replaced; nil: there is none of that
	// name, or it was not looked at since nothing depends on it yet.
	Replaced *Replaced
	// Refused is why the API server refused an object of this restore.
	Refused string
	// Cleaned: a live look found nothing left of this restore.
	Cleaned bool
	// CopiesGone: this leader has had RestoreIntent.RemoveCopies carried out.
	CopiesGone bool
	Config     Config
}

// Origin is a point's document and what the cluster says about restoring it.
type Origin struct {
	Disks []OriginDisk
	// Refusals are reasons why it cannot be restored here and now.
	Refusals []rules.Refusal
	Notes    []string
	// Wait says what is waited for before anything is restored, "" for nothing; Make
	// are objects that it takes.
	Wait string
	Make []client.Object
	// Rebuilt is the new VM on the current attempts' volumes; set from phase
	// Building on.
	Rebuilt *vmspec.Result
}

// VolumeFact is what is known of a restore's Longhorn volume.
type VolumeFact struct {
	UID types.UID
	// Owned: it carries this restore's label.
	Owned    bool
	Deleting bool
	Created  time.Time
	// Unschedulable is Longhorn's word on why replicas find no room.
	Unschedulable string
}

// ObjectFact is what is known of an object that Building makes.
type ObjectFact struct {
	UID types.UID
	// Owned: it carries this restore's label.
	Owned bool
	// Bound and Lost are of claims.
	Bound, Lost bool
	// Seen is of PersistentVolumes: the volume controller has looked at it.
	Seen    bool
	Created time.Time
	// Touched is when a claim was last touched; zero: never.
	Touched time.Time
}

// Made are the objects of Building that exist, by name.
type Made struct {
	Volumes map[string]ObjectFact // PersistentVolumes
	Claims  map[string]ObjectFact
	VM      *ObjectFact // nil: none of that name
}

// RestoreIntent is what is to be done for a VMRestore.
type RestoreIntent struct {
	Actions
	Status v1alpha1.VMRestoreStatus
	// Create are objects to make, in this order.
	Create []client.Object
	// DeleteVolumes are Longhorn volumes of attempts that failed.
	DeleteVolumes []DeleteVolume
	// TouchClaims are claims to change in a way that means nothing, so that the
	// volume controller looks at them.
	TouchClaims []string
	// Clean asks for everything labelled with this restore to be removed.
	Clean bool

	// Of a VM that is replaced, in this order; see Swap.
	Swap *Swap
	// Release are former claims to let go.
	Release []v1alpha1.FormerClaim
	// LabelState is the restored claim that gets KubeVirt's label for TPM and
	// EFI state.
	LabelState string
	// SetStrategy is the run strategy to give to the VM.
	SetStrategy string
	// DeletePoints and DeleteClaims go for good.
	DeletePoints []DeletePoint
	DeleteClaims []v1alpha1.FormerClaim
	// RemoveCopies is the restore whose Secrets and ConfigMaps go, but for those
	// that somebody refers to.
	RemoveCopies types.UID
}

// DeleteVolume names exactly one Longhorn volume.
type DeleteVolume struct {
	Name string
	UID  types.UID
}

// Restore decides about one VMRestore.
func Restore(v RestoreView) RestoreIntent {
	p := &restorePlan{v: v, st: *v.Restore.Status.DeepCopy()}
	switch {
	case p.st.Phase == v1alpha1.RestoreReady:
		p.end()
	case p.replaced():
		p.finishing()
	case !v.Restore.DeletionTimestamp.IsZero():
		p.deletion()
	case failure(p.st.Conditions) != nil:
		p.failing()
	case v.Restore.Spec.Cancel:
		p.fail("", ReasonCancelled, "cancelled (spec.cancel) while it stood at: "+standing(p.st.Conditions))
	case overdue(v.Now, v.Restore.CreationTimestamp, p.st.StartedAt, v.Config.PointDeadline):
		p.fail("", ReasonDeadline, fmt.Sprintf("the restore was not done within %s; it stood at: %s", v.Config.PointDeadline, standing(p.st.Conditions)))
	case v.Refused != "":
		p.fail("", ReasonRefused, "the cluster refused "+v.Refused)
	case len(p.st.Disks) == 0:
		p.pending()
	case v.Backup == nil: // only points without finalizer go while they are read
		p.fail("", ReasonBackupNotFound, fmt.Sprintf("VMBackup %q (spec.backup) was deleted while it was being restored", v.Restore.Spec.Backup))
	case p.replaces() != nil && p.disturbed() != "":
		p.fail("", ReasonRefused, notReplaced+p.disturbed())
	case p.st.Phase == v1alpha1.RestoreBuilding:
		p.building()
	default:
		p.restoring()
	}
	p.st.ObservedGeneration = v.Restore.Generation
	p.out.Actions, p.out.Status = p.a, p.st
	return p.out
}

type restorePlan struct {
	v   RestoreView
	st  v1alpha1.VMRestoreStatus
	a   Actions
	out RestoreIntent
}

func (p *restorePlan) owner() v1alpha1.ObjectReference {
	r := p.v.Restore
	return v1alpha1.ObjectReference{Kind: "VMRestore", Namespace: r.Namespace, Name: r.Name, UID: r.UID}
}

func (p *restorePlan) progressing(status metav1.ConditionStatus, reason, message string) {
	set(&p.st.Conditions, p.v.Now, p.v.Restore.Generation, v1alpha1.ConditionProgressing, status, reason, message)
}

func (p *restorePlan) working(format string, args ...any) {
	p.progressing(metav1.ConditionTrue, ReasonWorking, fmt.Sprintf(format, args...))
}

// pending refuses what cannot be made here, before any data moves. The point is
// marked as being read first, so that it is not deleted meanwhile.
func (p *restorePlan) pending() {
	spec, b := p.v.Restore.Spec, p.v.Backup
	if refusals := p.refusals(); len(refusals) > 0 {
		p.fail("", refusals[0].Reason, rules.Sentences(refusals))
		return
	}
	if p.st.BackupUID == "" {
		now := metav1.NewTime(p.v.Now)
		p.st.BackupUID, p.st.StartedAt, p.st.Phase = b.UID, &now, v1alpha1.RestorePending
		p.a.AddFinalizer = true
		p.a.tell("Started", fmt.Sprintf("restoring VMBackup %s to %s", spec.Backup, into(spec)))
		// The point is looked at once more when the mark stands: a deletion that
		// began before has not seen it, one that begins later waits for it.
		p.working("reading the point's document in %s", p.place())
		p.a.again(0)
		return
	}
	// A new leader begins again with reading. It does not go back to saying so: it
	// would write that, and never come to the end if each is killed at its write.
	p.a.Cosmetic = true
	p.working("reading the point's document in %s", p.place())
	if !p.read() {
		return
	}
	var refusals []rules.Refusal
	if p.replaces() != nil {
		refusals = p.unready()
	}
	refusals = append(refusals, p.v.Origin.Refusals...)
	if len(refusals) > 0 {
		p.fail("", refusals[0].Reason, rules.Sentences(refusals))
		return
	}
	if p.v.Origin.Wait != "" {
		p.out.Create = append(p.out.Create, p.v.Origin.Make...)
		p.working("%s", p.v.Origin.Wait)
		p.a.again(p.v.Config.ImageRetry)
		return
	}
	if !p.fromSnapshot() {
		p.working("checking the disks on target %s", b.Spec.Target)
		switch o, err := p.work(OpInspectBackups); o {
		case gaveUp:
			p.fail("", err.Reason, "the point's disks on the target are not whole: "+err.Message)
			return
		case pending:
			return
		}
	}
	if p.v.Inspected == nil {
		return
	}
	p.begin()
}

// fromSnapshot: the point is of type Snapshot, so its disks are cloned.
func (p *restorePlan) fromSnapshot() bool {
	return p.v.Backup != nil && p.v.Backup.Spec.Type == v1alpha1.TypeSnapshot
}

// place is where the point's document lies, for a sentence.
func (p *restorePlan) place() string {
	if p.fromSnapshot() {
		return "Secret " + p.v.Backup.Status.Document
	}
	return "target " + p.v.Backup.Spec.Target
}

// refusals of what was not begun. Once the point is marked only the point itself
// can still be refused, until its document was asked for: then a deletion waits.
func (p *restorePlan) refusals() []rules.Refusal {
	s, b := p.v.Restore, p.v.Backup
	if p.st.BackupUID == "" {
		return rules.Restore(rules.RestoreFacts{Restore: s, Backup: b, Target: p.v.Target, Place: p.v.Place})
	}
	if b != nil && b.UID != p.st.BackupUID {
		b = nil
	}
	if b == nil || !p.asked(OpReadDocument) {
		if r := rules.Point(s, b); r != nil {
			return []rules.Refusal{*r}
		}
	}
	return rules.Way(s, b, p.v.Target)
}

// asked: this leader has had a piece of work done, or begun.
func (p *restorePlan) asked(op Op) bool {
	_, known := p.v.Work[Work{Op: op}]
	return known
}

func (p *restorePlan) work(op Op) (outcome, *WorkError) {
	return p.a.work(p.v.Now, p.v.Config, p.v.Work, Order{Work: Work{Op: op}}, p.v.Config.WorkPatience)
}

// read has the document read; a new leader reads it again.
func (p *restorePlan) read() bool {
	o, err := p.work(OpReadDocument)
	if o == gaveUp {
		p.fail("", err.Reason, "the point's document cannot be used: "+err.Message)
		return false
	}
	return o == done && p.v.Origin != nil
}

func (p *restorePlan) begin() {
	p.st.Phase, p.a.Cosmetic = v1alpha1.RestoreRestoring, false
	p.record()
	p.st.Notes = p.v.Origin.Notes
	if len(p.st.Notes) > maxNotes {
		p.st.Notes = p.st.Notes[:maxNotes]
	}
	for _, d := range p.v.Origin.Disks {
		disk := v1alpha1.RestoreDisk{
			Name: d.Name, Claim: d.Claim, SizeBytes: d.SizeBytes,
			SourceVolume: d.SourceVolume, Backup: d.Backup, Snapshot: d.Snapshot, BackingImage: d.BackingImage,
		}
		if size := p.v.Inspected[d.Name]; size > 0 {
			disk.SizeBytes = size
		}
		p.attempt(&disk, 1)
		p.st.Disks = append(p.st.Disks, disk)
	}
	p.restoring()
}

// maxNotes is the API's limit.
const maxNotes = 64

func (p *restorePlan) attempt(d *v1alpha1.RestoreDisk, n int32) {
	d.Attempt, d.State = n, v1alpha1.DiskPending
	d.Volume, d.VolumeUID = names.Volume(p.v.Restore.UID, d.Name, n), ""
	d.Record, d.Progress = nil, nil
}

// into says what a point is restored to.
func into(s v1alpha1.VMRestoreSpec) string {
	switch {
	case s.Replace != nil:
		return "VM " + s.Replace.VM + ", which it replaces"
	case s.DiskClaim != nil:
		return "claim " + s.DiskClaim.Claim
	}
	return "new VM " + s.NewVM
}
