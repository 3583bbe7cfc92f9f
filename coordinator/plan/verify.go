package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/pkg/words"
)

// Reasons of the condition Verified, besides those of the target worker.
const (
	ReasonAllBlocks = "AllBlocksPresent"
	ReasonInspected = "BackupsInspected"
	ReasonNotReady  = "NotReady"
	ReasonDamaged   = "Damaged"
	ReasonVerified  = "Verified"
)

// VerifyView is what is known when a verification is decided on that was asked for.
type VerifyView struct {
	Now    time.Time
	Backup *v1alpha1.VMBackup
	// Disks of its document, nil until that was read.
	Disks []string
	// Busy: another point is being verified, and this one waits.
	Busy bool
	Work Works
	// Probe of the target: by one that cannot be used no point is called damaged.
	Probe  Probe
	Config Config
}

// VerifyIntent is what is to be done for a verification.
type VerifyIntent struct {
	Actions
	Status v1alpha1.VMBackupStatus
	// Begun and Ended tell whether it holds the place of the one that is under way.
	Begun, Ended bool
}

// Verify decides about the verification of a point: its document is read, and then
// each disk's backup is looked at, one after the other. What is missing on a target
// that can be used makes it Damaged; what could not be found out leaves it as it is.
func Verify(v VerifyView) VerifyIntent {
	asked := ask.Verification(v.Backup)
	p := &verifyPlan{v: v, asked: asked, st: *v.Backup.Status.DeepCopy()}
	p.decide()
	return VerifyIntent{Actions: p.a, Status: p.st, Begun: p.begun, Ended: p.ended}
}

type verifyPlan struct {
	v            VerifyView
	asked        ask.Asked
	st           v1alpha1.VMBackupStatus
	a            Actions
	begun, ended bool
}

func (p *verifyPlan) decide() {
	phase := p.st.Phase
	if phase != v1alpha1.BackupReady && phase != v1alpha1.BackupDamaged && !isOver(phase) {
		return // it is verified when it has come that far
	}
	started := p.st.Verification != nil && p.st.Verification.Requested == p.asked.Word
	if p.v.Busy && !started {
		p.a.again(2 * time.Second)
		return
	}
	if !started {
		p.st.Verification = &v1alpha1.Verification{Requested: p.asked.Word, AllBlocks: p.asked.AllBlocks, StartedAt: metav1.NewTime(p.v.Now), Message: "reading its document"}
	}
	switch {
	case p.asked.Wrong != "":
		p.end(metav1.ConditionUnknown, ReasonRefused, p.asked.Wrong)
		return
	case p.v.Backup.Spec.Type == v1alpha1.TypeSnapshot:
		p.end(metav1.ConditionUnknown, ReasonRefused, "it is a Snapshot, which lies on no target: whether it is lost is looked at all the time")
		return
	case isOver(phase):
		p.end(metav1.ConditionUnknown, ReasonNotReady, fmt.Sprintf("it is %s: there is nothing whole to be verified", phase))
		return
	}
	p.begun = true
	o, err := p.work(Work{Op: OpVerifyDocument, Arg: p.asked.Word})
	if o == pending {
		return
	}
	if o == gaveUp {
		p.judge([]*WorkError{err})
		return
	}
	p.disks()
}

// isOver: a point of this phase is not whole and does not become so by itself.
func isOver(phase v1alpha1.BackupPhase) bool {
	return slices.Contains([]v1alpha1.BackupPhase{v1alpha1.BackupFailed, v1alpha1.BackupDataLost, v1alpha1.BackupMissing}, phase)
}

// disks looks at each, and goes on after one that is damaged, to name all that are.
func (p *verifyPlan) disks() {
	run := p.st.Verification
	run.Disks, run.DisksDone = int32(len(p.v.Disks)), 0
	var damages []*WorkError
	for _, name := range p.v.Disks {
		o, err := p.work(Work{Op: OpVerifyDisk, Arg: p.asked.Word + " " + name})
		switch {
		case o == pending:
			run.Message = fmt.Sprintf("looking at disk %s, %d of %d", name, run.DisksDone+1, run.Disks)
			p.a.Cosmetic = p.v.Backup.Status.Verification != nil && p.v.Backup.Status.Verification.Requested == run.Requested
			return
		case o == gaveUp && !damage(err):
			p.judge(append(damages, err))
			return
		case o == gaveUp:
			damages = append(damages, err)
		}
		run.DisksDone++
	}
	if len(damages) > 0 {
		p.judge(damages)
		return
	}
	count := words.Count(len(p.v.Disks), "disk")
	if p.asked.AllBlocks {
		p.end(metav1.ConditionTrue, ReasonAllBlocks, "its document and every block of its "+count+" are on the target; what is in the blocks was not read")
	} else {
		p.end(metav1.ConditionTrue, ReasonInspected, "its document and the lists of blocks of its "+count+" are on the target and fit; the blocks were not looked for")
	}
}

func (p *verifyPlan) work(w Work) (outcome, *WorkError) {
	return p.a.work(p.v.Now, p.v.Config, p.v.Work, Order{Work: w}, p.v.Config.WorkPatience)
}

// damage: the target has answered, and the point is not whole.
func damage(err *WorkError) bool {
	return slices.Contains([]string{ReasonDamaged, reasonNotFound, "Mismatch", "InProgress", "Removing"}, err.Reason)
}

// judge ends a verification that did not go well. A share that is not mounted has
// nothing of a point either, so that only counts if the target can be used now.
func (p *verifyPlan) judge(errs []*WorkError) {
	var found, unknown []string
	for _, err := range errs {
		if damage(err) {
			found = append(found, err.Message)
		} else {
			unknown = append(unknown, err.Message)
		}
	}
	last := errs[len(errs)-1]
	switch pr := p.v.Probe; {
	case len(found) == 0:
		p.end(metav1.ConditionUnknown, last.Reason, strings.Join(unknown, "; "))
	case !pr.Known:
		p.a.Probe = true
		p.st.Verification.Message = "something is missing; looking whether the target itself can be used"
	case pr.Err != nil:
		p.end(metav1.ConditionUnknown, pr.Err.Reason, fmt.Sprintf("the target cannot be used (%s), so it is not known what this means: %s", pr.Err.Message, strings.Join(found, "; ")))
	default:
		p.end(metav1.ConditionFalse, errs[0].Reason, strings.Join(append(found, unknown...), "; "))
	}
}

// end records what was found, with the time of it, and what the point is from now on.
func (p *verifyPlan) end(status metav1.ConditionStatus, reason, message string) {
	const most = 1800
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most], "") + "…"
	}
	now := metav1.NewTime(p.v.Now)
	run := p.st.Verification
	run.EndedAt, run.Reason, run.Message = &now, reason, message
	run.Result = map[metav1.ConditionStatus]v1alpha1.VerificationResult{
		metav1.ConditionTrue: v1alpha1.VerificationPassed, metav1.ConditionFalse: v1alpha1.VerificationDamaged, metav1.ConditionUnknown: v1alpha1.VerificationUnknown,
	}[status]
	at := now.UTC().Format(time.RFC3339)
	// The time of the condition is that of the look, also where it says the same as before.
	meta.RemoveStatusCondition(&p.st.Conditions, v1alpha1.ConditionVerified)
	p.condition(v1alpha1.ConditionVerified, status, reason, message+", "+at)
	p.ended, p.a.Cosmetic = true, false
	switch {
	case status == metav1.ConditionFalse && p.st.Phase == v1alpha1.BackupReady:
		p.st.Phase = v1alpha1.BackupDamaged
		p.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, ReasonDamaged, "verified "+at+": "+message+". Later backups of its VM may lack the same: verify them too, and delete what is damaged")
		p.a.event(corev1.EventTypeWarning, ReasonDamaged, message)
	case status == metav1.ConditionTrue && p.st.Phase == v1alpha1.BackupDamaged && p.heals():
		p.st.Phase = v1alpha1.BackupReady
		p.condition(v1alpha1.ConditionReady, metav1.ConditionTrue, ReasonVerified, "verified "+at+": "+message)
		p.a.event(corev1.EventTypeNormal, ReasonVerified, message)
	case status == metav1.ConditionTrue:
		p.a.event(corev1.EventTypeNormal, ReasonVerified, message)
	default:
		p.a.event(corev1.EventTypeWarning, "NotVerified", message)
	}
}

// heals: only who has looked for every block may say that a damaged point is whole.
func (p *verifyPlan) heals() bool { return p.asked.AllBlocks }

func (p *verifyPlan) condition(kind string, status metav1.ConditionStatus, reason, message string) {
	set(&p.st.Conditions, p.v.Now, p.v.Backup.Generation, kind, status, reason, message)
}
