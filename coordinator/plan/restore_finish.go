package plan

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// finishing brings a VM that was replaced to its end: its former claims are let
// go, it gets its run strategy, and its former volumes go if that was asked for.
func (p *restorePlan) finishing() {
	if p.st.ReplacedAt == nil {
		now := metav1.NewTime(p.v.Now)
		p.st.ReplacedAt, p.st.Phase = &now, v1alpha1.RestoreBuilding
		if p.v.Replaced != nil {
			p.st.RunStrategy = p.v.Replaced.Strategy
		}
		// A cause of failure that was written while the swap was on its way.
		removeCondition(&p.st.Conditions, v1alpha1.ConditionReady)
		p.st.CompletedAt = nil
		p.a.tell("Replaced", fmt.Sprintf("VM %s has the disks of VMBackup %s", p.replaces().VM, p.v.Restore.Spec.Backup))
		p.working("VM %s has its restored disks; letting its former claims go", p.replaces().VM)
		p.a.again(0)
		return
	}
	p.a.Cosmetic = true
	if p.v.Replaced == nil || p.v.Replaced.UID != p.st.VMUID {
		p.complete(fmt.Sprintf("VM %s was replaced, and deleted since", p.replaces().VM))
		return
	}
	if !p.release() || !p.restart() || !p.removeFormer() || !p.removeCopies() {
		p.a.again(p.v.Config.WorkRetry)
		return
	}
	p.complete(fmt.Sprintf("VM %s was replaced from VMBackup %s", p.replaces().VM, p.v.Restore.Spec.Backup))
}

// release lets the former claims go: nothing may take them for the VM's any
// more. Then the restored TPM state gets the label by which it is found.
func (p *restorePlan) release() bool {
	free := true
	for i := range p.st.Former {
		f := &p.st.Former[i]
		fact, exists := p.v.Replaced.Claims[f.Claim]
		switch {
		case f.State != "":
		case !exists || fact.Deleting:
			f.State = v1alpha1.FormerDeleted
		case fact.Free:
			f.State = v1alpha1.FormerRetained
		default:
			free = false
			p.out.Release = append(p.out.Release, *f)
		}
	}
	if !free {
		p.working("VM %s has its restored disks; letting its former claims go", p.replaces().VM)
		return false
	}
	state := vmspec.StateClaimName(p.replaces().VM, p.v.Restore.UID)
	if p.v.Replaced.Labelled || !slices.ContainsFunc(p.st.Disks, func(d v1alpha1.RestoreDisk) bool { return d.Claim == state }) {
		return true
	}
	p.out.LabelState = state
	p.working("VM %s has its restored disks; handing it its TPM and EFI state", p.replaces().VM)
	return false
}

// restart gives the VM its run strategy, once KubeVirt has seen that it was
// halted: only a change starts it.
func (p *restorePlan) restart() bool {
	vm := p.v.Replaced
	switch {
	case vm.Strategy == "":
		return true
	case vm.Halted || remaining(p.v.Now, p.st.ReplacedAt.Time, p.v.Config.RunPatience) == 0:
		p.out.SetStrategy = vm.Strategy
		p.working("VM %s has its restored disks; giving it run strategy %s", p.replaces().VM, vm.Strategy)
	default:
		p.working("VM %s has its restored disks; waiting until KubeVirt has seen them", p.replaces().VM)
	}
	return false
}

// removeFormer deletes the former claims, if that was asked for, once the VM is
// ready. What cannot be deleted safely is kept, and said so.
func (p *restorePlan) removeFormer() bool {
	r, vm := p.replaces(), p.v.Replaced
	if r.Volumes != v1alpha1.VolumesDelete || !p.v.Restore.DeletionTimestamp.IsZero() {
		return true
	}
	if starts(p.st.RunStrategy) && !vm.Running {
		if remaining(p.v.Now, p.st.ReplacedAt.Time, p.v.Config.RunPatience) == 0 {
			p.keep("the VM did not run within %s, so its former volumes were kept: delete the claims when you do not need them", p.v.Config.RunPatience)
			return true
		}
		p.working("waiting until VM %s runs, to delete its former volumes", r.VM)
		return false
	}
	if going := p.removeSnapshots(); going != "" {
		p.working("%s", going)
		return false
	}
	var waits []string
	for i := range p.st.Former {
		if wait := p.removeOne(&p.st.Former[i]); wait != "" {
			waits = append(waits, wait)
		}
	}
	if len(waits) > 0 {
		p.working("%s", strings.Join(waits, "; "))
	}
	return len(waits) == 0
}

// starts: a VM with this run strategy starts by itself.
func starts(strategy string) bool {
	return strategy == "Always" || strategy == "RerunOnFailure" || strategy == "Once"
}

// removeSnapshots deletes the points that were named, and waits for their end.
func (p *restorePlan) removeSnapshots() string {
	var going []string
	for _, s := range p.v.Replaced.Snapshots {
		if !slices.Contains(p.replaces().DeleteSnapshots, s.Name) {
			continue
		}
		going = append(going, s.Name)
		if !s.Deleting {
			p.out.DeletePoints = append(p.out.DeletePoints, DeletePoint{Name: s.Name, UID: s.UID})
		}
	}
	if len(going) == 0 {
		return ""
	}
	return "waiting until VMBackups " + strings.Join(going, ", ") + " are deleted with the former volumes"
}

// removeOne deletes one former claim. "": there is nothing to wait for.
func (p *restorePlan) removeOne(f *v1alpha1.FormerClaim) (wait string) {
	fact, exists := p.v.Replaced.Claims[f.Claim]
	switch {
	case f.State == v1alpha1.FormerDeleted:
		return ""
	case !exists || fact.Deleting:
		f.State = v1alpha1.FormerDeleted
		return ""
	case !slices.ContainsFunc(p.st.Disks, func(d v1alpha1.RestoreDisk) bool { return d.Name == f.Disk }):
		p.keep("claim %s was kept: the backup does not know its disk %s", f.Claim, f.Disk)
		return ""
	case len(fact.Users) > 0:
		p.keep("claim %s of former disk %s was kept: %s refers to it", f.Claim, f.Disk, strings.Join(fact.Users, ", "))
		return ""
	}
	for _, s := range p.v.Replaced.Snapshots {
		if slices.Contains(s.Volumes, f.Volume) {
			p.keep("claim %s of former disk %s was kept: VMBackup %s of type Snapshot lives in its volume", f.Claim, f.Disk, s.Name)
			return ""
		}
	}
	if busy := p.v.Replaced.Busy; len(busy) > 0 {
		return fmt.Sprintf("waiting until VMBackup %s is done, to delete former claim %s", strings.Join(busy, ", "), f.Claim)
	}
	p.out.DeleteClaims = append(p.out.DeleteClaims, *f)
	return "deleting former claim " + f.Claim
}

// removeCopies deletes what the restore before this one made of Secrets and
// ConfigMaps for the VM: else they would grow with each restore. Those that
// somebody else made are not touched.
func (p *restorePlan) removeCopies() bool {
	waitsForVM := p.replaces().Volumes == v1alpha1.VolumesDelete && starts(p.st.RunStrategy)
	switch {
	case p.st.FormerRestore == "" || p.v.CopiesGone || !p.v.Restore.DeletionTimestamp.IsZero():
		return true
	case waitsForVM && !p.v.Replaced.Running: // it did not run in time, and what it had is kept
		return true
	}
	p.out.RemoveCopies = p.st.FormerRestore
	p.working("removing the Secrets and ConfigMaps that an earlier restore made for VM %s", p.replaces().VM)
	return false
}

// keep notes, once, that something was not deleted.
func (p *restorePlan) keep(format string, args ...any) {
	note := fmt.Sprintf(format, args...)
	if slices.Contains(p.st.Notes, note) {
		return
	}
	p.note(note)
	p.a.warn("Kept", note)
}

func (p *restorePlan) note(note string) {
	if len(p.st.Notes) < maxNotes {
		p.st.Notes = append(p.st.Notes, note)
	}
}

// complete ends a restore that replaced a VM.
func (p *restorePlan) complete(message string) {
	var kept []string
	for _, f := range p.st.Former {
		if f.State == v1alpha1.FormerRetained {
			kept = append(kept, f.Claim)
		}
	}
	if len(kept) > 0 {
		p.note(fmt.Sprintf("the VM's former disks are in claims %s, which nothing uses any more", strings.Join(kept, ", ")))
	}
	if p.v.Restore.Spec.Cancel {
		p.note("spec.cancel came too late: the VM was replaced already")
	}
	p.succeed(message)
}
