package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// stressExcuses are the reasons for which a point or a restore may fail, and by
// what the run has done to it. Any other failure fails the test.
var stressExcuses = []struct {
	kind    string // VMBackup or VMRestore
	excuses func(p *stressPoint, cancelled bool) bool
	reasons []string // none: any
	why     string
}{
	{
		"VMBackup",
		func(_ *stressPoint, cancelled bool) bool { return cancelled },
		[]string{"Cancelled"},
		"it was cancelled",
	},
	{
		"VMBackup",
		func(p *stressPoint, _ bool) bool { return p.vm.goes },
		[]string{"SourceDeleted", "Refused"},
		"the VM and its claims were deleted before the point was ready: its volumes cannot be read any more",
	},
	{
		"VMRestore",
		func(_ *stressPoint, cancelled bool) bool { return cancelled },
		[]string{"Cancelled"},
		"it was cancelled",
	},
	{
		"VMRestore",
		func(p *stressPoint, _ bool) bool { return p.snapshot && p.vm.goes },
		nil,
		"a Snapshot goes with its VM, whose volumes were deleted while they were to be cloned",
	},
}

// observe brings the model up to date with the cluster.
func (s *stressRun) observe() {
	s.t.Helper()
	s.seeVMs()
	s.seeMoves()
	s.seePoints()
	s.seeRestores()
	for _, v := range s.model.vms {
		now, heard := s.hear(v)
		for _, p := range s.model.points {
			if heard && p.vm == v && p.ready && p.high == 0 {
				p.high = now
			}
		}
	}
}

func (s *stressRun) list(into client.ObjectList) {
	s.t.Helper()
	require.NoError(s.t, s.c.List(s.ctx, into, client.InNamespace(s.ns)))
}

// seeVMs sees which guests run, and takes the claims of deleted VMs away as soon
// as these are gone.
func (s *stressRun) seeVMs() {
	s.t.Helper()
	var vmis kubevirt.VirtualMachineInstanceList
	s.list(&vmis)
	up := map[string]bool{}
	for _, vmi := range vmis.Items {
		up[vmi.Name] = vmi.Status.Phase == kubevirt.Running && vmi.DeletionTimestamp == nil
	}
	going := false
	for _, v := range s.model.vms {
		v.up, v.there = up[v.name]
		going = going || v.goes
	}
	if !going {
		return
	}
	var vms kubevirt.VirtualMachineList
	var claims corev1.PersistentVolumeClaimList
	s.list(&vms)
	s.list(&claims)
	s.model.vms = slices.DeleteFunc(s.model.vms, func(v *stressVM) bool {
		if !v.goes || slices.ContainsFunc(vms.Items, func(vm kubevirt.VirtualMachine) bool { return vm.Name == v.name }) {
			return false
		}
		there := false
		for i := range claims.Items {
			if c := &claims.Items[i]; slices.Contains(v.allClaims(), c.Name) {
				there = true
				if c.DeletionTimestamp == nil {
					require.NoError(s.t, client.IgnoreNotFound(s.c.Delete(s.ctx, c)))
				}
			}
		}
		return !there
	})
}

// allClaims are a VM's claims, and those that it had before.
func (v *stressVM) allClaims() []string {
	return slices.AppendSeq(slices.Clone(v.former), maps.Values(v.claims))
}

// seeMoves sees migrations end. None may fail but of a VM that was turned off or
// deleted meanwhile: neither a backup nor a killed agent is a reason.
func (s *stressRun) seeMoves() {
	s.t.Helper()
	var list kubevirt.VirtualMachineInstanceMigrationList
	s.list(&list)
	for _, m := range list.Items {
		move, under := s.moves[m.Name]
		if !under || !m.IsFinal() {
			continue
		}
		delete(s.moves, m.Name)
		move.vm.moves = false
		s.ended["migrations "+string(m.Status.Phase)]++
		if m.Status.Phase == kubevirt.MigrationFailed && !s.stopped[move.vm.name].After(move.at) {
			s.t.Errorf("migration %s of %s failed: %s", m.Name, move.vm.name, words(m.Status))
		}
	}
}

// seePoints sees points end and go.
func (s *stressRun) seePoints() {
	s.t.Helper()
	var list v1alpha1.VMBackupList
	s.list(&list)
	there := map[string]*v1alpha1.VMBackup{}
	for i := range list.Items {
		there[list.Items[i].Name] = &list.Items[i]
	}
	s.model.points = slices.DeleteFunc(s.model.points, func(p *stressPoint) bool {
		b := there[p.name]
		if b == nil {
			if !p.goes && !(p.snapshot && p.vm.goes) {
				s.t.Errorf("point %s of %s is gone, and nobody deleted it", p.name, p.vm.name)
			}
			return true
		}
		s.seePoint(p, b)
		return false
	})
}

func (s *stressRun) seePoint(p *stressPoint, b *v1alpha1.VMBackup) {
	s.t.Helper()
	p.said = fmt.Sprintf("%s, %s", b.Status.Phase, conditionText(b.Status.Conditions, v1alpha1.ConditionProgressing))
	switch phase := b.Status.Phase; {
	case phase == v1alpha1.BackupReady && !p.ended:
		p.ended, p.ready, p.agree = true, true, agree(b.Status.Consistency)
		s.ended[string(b.Spec.Type)+"s "+string(b.Status.Consistency)]++
	case phase == v1alpha1.BackupFailed && !p.ended:
		p.ended, p.failed = true, true
		s.judge("VMBackup", b, p, p.cancels)
	case phase == v1alpha1.BackupDataLost:
		if p.ready && !p.vm.goes {
			s.t.Errorf("point %s of %s is DataLost, and its VM is there: %s", p.name, p.vm.name, words(b.Status))
		}
		p.ended, p.ready = true, false
	}
}

// seeRestores sees restores end.
func (s *stressRun) seeRestores() {
	s.t.Helper()
	var list v1alpha1.VMRestoreList
	s.list(&list)
	slices.SortFunc(list.Items, func(a, b v1alpha1.VMRestore) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for i := range list.Items {
		r := &list.Items[i]
		name := strings.TrimPrefix(r.Name, "r-")
		under := s.model.restores[name]
		if under == nil {
			continue
		}
		switch r.Status.Phase {
		case v1alpha1.RestoreReady:
			s.restored(r, under.point)
		case v1alpha1.RestoreFailed:
			s.judge("VMRestore", r, under.point, under.cancels)
			if r.Spec.Replace != nil {
				s.model.notReplaced(under)
			}
		default:
			continue
		}
		delete(s.model.restores, name)
	}
}

// restored: what a restore has made is a VM like the others.
func (s *stressRun) restored(r *v1alpha1.VMRestore, p *stressPoint) {
	claims := map[string]string{}
	for _, d := range r.Status.Disks {
		claims[d.Name] = d.Claim
	}
	if r.Spec.Replace == nil {
		s.ended["restores"]++
		s.model.vms = append(s.model.vms, &stressVM{name: r.Spec.NewVM, apart: !p.agree, fronts: p.vm.fronts, claims: claims, acked: p.low})
		return
	}
	s.ended["replaced, "+string(r.Spec.Replace.Volumes)]++
	var former []string
	if r.Spec.Replace.Volumes == v1alpha1.VolumesRetain {
		former = slices.Collect(maps.Values(p.vm.claims))
	}
	s.model.replaced(p, claims, former)
}

// judge fails the test for a failure that nothing in the run excuses.
func (s *stressRun) judge(kind string, o client.Object, p *stressPoint, cancelled bool) {
	s.t.Helper()
	reason, message := readyWords(s.t, o)
	s.ended[fmt.Sprintf("%ss failed, %s", kind, reason)]++
	for _, e := range stressExcuses {
		if e.kind == kind && e.excuses(p, cancelled) && (e.reasons == nil || slices.Contains(e.reasons, reason)) {
			s.t.Logf("%s %s failed (%s: %s): %s", kind, o.GetName(), reason, message, e.why)
			return
		}
	}
	s.t.Errorf("%s %s of VM %s failed: %s: %s\n%s", kind, o.GetName(), p.vm.name, reason, message, words(o))
}

// unfinished is what has not come to its end.
func (s *stressRun) unfinished() (list []string) {
	for _, p := range s.model.points {
		if !p.ended || p.goes || p.snapshot && p.vm.goes && !p.failed {
			list = append(list, fmt.Sprintf("point %s (%s)", p.name, p.said))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.model.restores)) {
		list = append(list, "restore r-"+name)
	}
	for _, name := range slices.Sorted(maps.Keys(s.moves)) {
		list = append(list, "migration "+name)
	}
	for _, v := range s.model.vms {
		switch {
		case v.goes:
			list = append(list, "deletion of "+v.name)
		case v.on != v.up:
			list = append(list, fmt.Sprintf("VM %s, which should run: %t", v.name, v.on))
		}
	}
	return list
}

// stressMove is a migration under way.
type stressMove struct {
	vm *stressVM
	at time.Time
}
