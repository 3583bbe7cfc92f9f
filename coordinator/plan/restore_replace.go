package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Replaced is what is known of the VM that a restore replaces, all of it read
// live and after the VM itself: what changed since has changed the VM, too.
type Replaced struct {
	UID types.UID
	// Leaving: the VM is being deleted.
	Leaving bool
	// On says in a sentence why the VM is not off, and what to do; "": it is.
	On string
	// Object is the VM as it was read, for Swap and SetStrategy.
	Object *unstructured.Unstructured
	// Mine: it carries this restore's label, so it has been given the restored
	// disks.
	Mine bool
	// Restore is the UID of the restore that gave it what it has; "": none did.
	Restore types.UID
	// Strategy is the run strategy that it is still to get; "": none.
	Strategy string
	// Halted: KubeVirt has seen that it is halted, and has no instance of it.
	Halted bool
	// Running: its instance runs.
	Running bool
	// Former are the claims that it has and that the restored VM has not.
	Former []v1alpha1.FormerClaim
	// Claims tells of the claims of status.former; one that is missing is gone.
	Claims map[string]FormerFact
	// Labelled: the restored claim for TPM and EFI state has KubeVirt's label.
	Labelled bool
	// Rivals are other unfinished restores into this VM, Busy the points of it
	// that are being taken.
	Rivals []Rival
	Busy   []string
	// Snapshots are the points of type Snapshot in the volumes of the former
	// claims.
	Snapshots []SnapshotFact
}

// FormerFact is what is known of a replaced VM's former claim.
type FormerFact struct {
	// Free: it has its labels, and no owner that would take it along.
	Free     bool
	Deleting bool
	// Users are VMs and instances that refer to it.
	Users []string
}

// Rival is another restore into the same VM.
type Rival struct {
	Name string
	// First: it was created before this one.
	First bool
	// Moving: it has begun to restore data.
	Moving bool
}

// SnapshotFact is a point of type Snapshot whose data is there, or will be.
type SnapshotFact struct {
	Name     string
	UID      types.UID
	Deleting bool
	// Volumes of the former claims that it lives in.
	Volumes []string
}

// Swap asks for the restored VM to be written over the one that it replaces, on
// the condition that nobody changed that one since it was looked at.
type Swap struct{ VM types.UID }

// DeletePoint names exactly one VMBackup.
type DeletePoint struct {
	Name string
	UID  types.UID
}

// replaces: this restore gives an existing VM another one's disks.
func (p *restorePlan) replaces() *v1alpha1.Replace { return p.v.Restore.Spec.Replace }

// replaced: the VM has the restored disks. From there on the restore goes to
// its end, whatever else is asked for.
func (p *restorePlan) replaced() bool {
	return p.replaces() != nil && (p.st.ReplacedAt != nil || p.v.Replaced != nil && p.v.Replaced.Mine)
}

// unready says why the VM cannot be replaced now.
func (p *restorePlan) unready() []rules.Refusal {
	s, vm := p.v.Restore, p.v.Replaced
	if vm == nil {
		return rules.Replaceable(s, nil)
	}
	if refusals := rules.Replaceable(s, &rules.VM{Leaving: vm.Leaving, On: vm.On}); len(refusals) > 0 {
		return refusals
	}
	for _, o := range vm.Rivals {
		// Two that were created at once see each other; the first one goes on
		// unless the other has begun to move data.
		if o.First || o.Moving && len(p.st.Disks) == 0 {
			return []rules.Refusal{rules.Rival(s, o.Name)}
		}
	}
	var going, known []string
	for _, f := range vm.Snapshots {
		known = append(known, f.Name)
		if !f.Deleting {
			going = append(going, f.Name)
		}
	}
	if s.Status.Former != nil { // what was named may be gone since it was looked for
		known = append(known, s.Spec.Replace.DeleteSnapshots...)
	}
	return rules.TakenAlong(s, going, known)
}

// disturbed says why a VM that is to be replaced is not any more what the
// restore began with.
func (p *restorePlan) disturbed() string {
	name := p.replaces().VM
	switch vm := p.v.Replaced; {
	case vm == nil || vm.UID != p.st.VMUID:
		return fmt.Sprintf("VirtualMachine %s was deleted meanwhile: restore to a new VM with spec.newVM", name)
	case vm.On != "":
		return vm.On
	}
	return ""
}

// record notes, before anything is made, what the VM has.
func (p *restorePlan) record() {
	if vm := p.v.Replaced; p.replaces() != nil && vm != nil {
		p.st.VMUID = vm.UID
		p.st.Former = slices.Clone(vm.Former)
		p.st.FormerRestore = vm.Restore
	}
}

const notReplaced = "the VM was not replaced and is as it was: "

// swap gives the VM its restored disks. Everything that they need is there.
func (p *restorePlan) swap() {
	name := p.replaces().VM
	refuse := rules.Sentences(p.unready())
	if refuse == "" && !sameFormer(p.v.Replaced.Former, p.st.Former) {
		refuse = fmt.Sprintf("the disks of VirtualMachine %s were changed meanwhile: create the restore again", name)
	}
	if refuse != "" {
		p.fail("", ReasonRefused, notReplaced+refuse)
		return
	}
	if busy := p.v.Replaced.Busy; len(busy) > 0 {
		p.working("every disk is restored; waiting until VMBackup %s of VM %s is done", strings.Join(busy, ", "), name)
		p.a.Cosmetic = true
		p.a.again(p.v.Config.WorkRetry)
		return
	}
	p.working("every disk is restored; giving VM %s its disks", name)
	p.a.Cosmetic = true
	p.out.Swap = &Swap{VM: p.st.VMUID}
}

func sameFormer(a, b []v1alpha1.FormerClaim) bool {
	key := func(f v1alpha1.FormerClaim) string { return f.Disk + "/" + f.Claim + "/" + string(f.UID) }
	keys := func(list []v1alpha1.FormerClaim) (out []string) {
		for _, f := range list {
			out = append(out, key(f))
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(keys(a), keys(b))
}
