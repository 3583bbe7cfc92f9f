package kubevirt_test

import (
	"context"
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/guest"
	"hayloft.dev/deploy/local/guest/ring"
	"hayloft.dev/deploy/local/kubevirt"
	"hayloft.dev/deploy/local/longhorn"
)

// sharedClaim is a claim as Harvester makes them, on volumes that can migrate.
func sharedClaim(t *testing.T, s *stack, namespace, name string) *corev1.PersistentVolumeClaim {
	t.Helper()
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "migratable"}, Provisioner: "driver.longhorn.io",
		Parameters: map[string]string{"numberOfReplicas": "2", "migratable": "true"},
	}
	if err := s.Create(t.Context(), class); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	c := claim(namespace, name)
	c.Spec.StorageClassName = &class.Name
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	return c
}

// migratingVM is a VM with two shared disks that runs on node-1.
func (s *stack) migratingVM(t *testing.T, namespace, asked string) *virt.VirtualMachine {
	t.Helper()
	vm := agentMachine(namespace, "vm", virt.RunStrategyAlways, "a", "b")
	vm.Annotations[kubevirt.NodeAnnotation] = "node-1"
	vm.Annotations[kubevirt.MigrationAnnotation] = asked
	create(t, s, sharedClaim(t, s, namespace, "a"), sharedClaim(t, s, namespace, "b"), vm)
	s.waitStatus(t, namespace, "vm", virt.VirtualMachineStatusRunning)
	return vm
}

func (s *stack) migrate(t *testing.T, namespace string, annotations map[string]string) *virt.VirtualMachineInstanceMigration {
	t.Helper()
	m := &virt.VirtualMachineInstanceMigration{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "move-", Annotations: annotations},
		Spec:       virt.VirtualMachineInstanceMigrationSpec{VMIName: "vm"},
	}
	create(t, s, m)
	return m
}

func (s *stack) waitMigration(t *testing.T, m *virt.VirtualMachineInstanceMigration, want virt.VirtualMachineInstanceMigrationPhase) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the migration says %+v", m.Status)
		}
	}()
	until(t, "the migration is "+string(want), func() bool {
		s.read(t, m.Namespace, m.Name, m)
		return m.Status.Phase == want
	})
}

// waitOn waits until a VM runs on a node, and its volumes are there and nowhere else.
func (s *stack) waitOn(t *testing.T, namespace, node string) {
	t.Helper()
	until(t, "the VM is on "+node+" alone", func() bool {
		var vmi virt.VirtualMachineInstance
		s.read(t, namespace, "vm", &vmi)
		for _, claim := range []string{"a", "b"} {
			name, tickets := s.tickets(t, namespace, claim)
			var volume lh.Volume
			s.read(t, longhorn.DefaultNamespace, name, &volume)
			var engines lh.EngineList
			if err := s.List(t.Context(), &engines, client.InNamespace(longhorn.DefaultNamespace), client.MatchingLabels{"longhornvolume": name}); err != nil {
				t.Fatal(err)
			}
			if len(tickets) != 1 || len(engines.Items) != 1 || volume.Status.CurrentNodeID != node || volume.Status.CurrentMigrationNodeID != "" {
				return false
			}
			for _, ticket := range tickets {
				if ticket.NodeID != node {
					return false
				}
			}
		}
		return vmi.Status.NodeName == node && vmi.Labels[virt.NodeNameLabel] == node
	})
}

func (s *stack) waitWrites(t *testing.T, namespace string) {
	t.Helper()
	before := s.ask(t, namespace, "vm", guest.Request{Op: guest.OpStatus}).Sequence
	until(t, "the guest writes", func() bool {
		return s.ask(t, namespace, "vm", guest.Request{Op: guest.OpStatus}).Sequence > before+10
	})
}

// requireWhole stops the VM and looks for missing writes on its disks.
func (s *stack) requireWhole(t *testing.T, vm *virt.VirtualMachine) {
	t.Helper()
	last := s.ask(t, vm.Namespace, "vm", guest.Request{Op: guest.OpQuiet}).Sequence
	s.change(t, vm, `{"spec":{"runStrategy":"Halted"}}`)
	s.waitStatus(t, vm.Namespace, "vm", virt.VirtualMachineStatusStopped)
	for _, claim := range []string{"a", "b"} {
		s.waitNoTickets(t, vm.Namespace, claim)
		name, _ := s.tickets(t, vm.Namespace, claim)
		attached, err := disk.Attacher{Client: s.Client, Namespace: longhorn.DefaultNamespace, User: "test"}.Attach(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		place, err := ring.On(attached.Size())
		if err != nil {
			t.Fatal(err)
		}
		state, err := place.Read(attached)
		if err != nil {
			t.Fatal(err)
		}
		if !state.Whole() || state.Last == nil || state.Last.Sequence != last {
			t.Errorf("disk %s: %+v, last %+v, want %d", claim, state, state.Last, last)
		}
		if err := attached.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLiveMigration(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := s.migratingVM(t, ns, "3s")
	var vmi virt.VirtualMachineInstance
	s.read(t, ns, "vm", &vmi)
	first := vmi.UID

	m := s.migrate(t, ns, nil)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusMigrating)
	s.refusesPut(t, ns, "virtualmachineinstances/vm/freeze", `{"unfreezeTimeout":"1h"}`, apierrors.IsInternalError, "currently during migration")
	s.refusesPut(t, ns, "virtualmachineinstances/vm/pause", "", apierrors.IsConflict, "currently being migrated")
	s.waitWrites(t, ns)
	s.waitMigration(t, m, virt.MigrationSucceeded)
	s.waitOn(t, ns, "node-2")
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	s.waitWrites(t, ns)
	s.read(t, ns, "vm", &vmi)
	if state := vmi.Status.MigrationState; vmi.UID != first || !state.Completed || state.Failed || state.SourceNode != "node-1" || state.TargetNode != "node-2" {
		t.Errorf("the instance is %s, was %s, and says %+v", vmi.UID, first, state)
	}
	// And back, as often as one likes.
	s.change(t, vm, `{"metadata":{"annotations":{"local.hayloft.dev/migration":null}}}`)
	s.waitMigration(t, s.migrate(t, ns, nil), virt.MigrationSucceeded)
	s.waitOn(t, ns, "node-1")
	s.waitWrites(t, ns)
	s.requireWhole(t, vm)
}

func TestAMigrationThatFailsLeavesTheVMWhereItWas(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := s.migratingVM(t, ns, "error")
	m := s.migrate(t, ns, nil)
	s.waitMigration(t, m, virt.MigrationFailed)
	if m.Status.MigrationState == nil || m.Status.MigrationState.FailureReason == "" {
		t.Errorf("it does not say why: %+v", m.Status)
	}
	s.waitOn(t, ns, "node-1")

	s.change(t, vm, `{"metadata":{"annotations":{"local.hayloft.dev/migration":"1h"}}}`)
	aborted := s.migrate(t, ns, nil)
	s.waitMigration(t, aborted, virt.MigrationRunning)
	second := s.migrate(t, ns, nil)
	s.waitMigration(t, second, virt.MigrationFailed)
	if err := s.Delete(t.Context(), aborted); err != nil {
		t.Fatal(err)
	}
	until(t, "the migration is gone", func() bool {
		return apierrors.IsNotFound(s.Get(t.Context(), client.ObjectKeyFromObject(aborted), aborted))
	})
	s.waitOn(t, ns, "node-1")
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	var vmi virt.VirtualMachineInstance
	s.read(t, ns, "vm", &vmi)
	if state := vmi.Status.MigrationState; !state.Failed || state.AbortStatus != virt.MigrationAbortSucceeded {
		t.Errorf("the instance says %+v", state)
	}
	s.waitWrites(t, ns)
	s.requireWhole(t, vm)
}

// A migratable volume has room for two tickets: whoever holds one beside the VM's keeps the VM from migrating.
func TestABackupTicketKeepsAVMFromMigrating(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := s.migratingVM(t, ns, "")
	name, _ := s.tickets(t, ns, "b")
	var va lh.VolumeAttachment
	s.read(t, longhorn.DefaultNamespace, name, &va)
	s.change(t, &va, `{"spec":{"attachmentTickets":{"backup":{"id":"backup","type":"backup-controller","nodeID":"node-1","parameters":{"disableFrontend":"any"}}}}}`)

	m := s.migrate(t, ns, map[string]string{virt.MigrationPendingPodTimeoutSecondsAnnotation: "2"})
	s.waitMigration(t, m, virt.MigrationFailed)
	for _, at := range m.Status.PhaseTransitionTimestamps {
		if at.Phase == virt.MigrationScheduled {
			t.Error("its volumes were attached to the target")
		}
	}
	s.waitWrites(t, ns)

	waiting := s.migrate(t, ns, nil)
	s.waitMigration(t, waiting, virt.MigrationScheduling)
	s.read(t, longhorn.DefaultNamespace, name, &va)
	s.change(t, &va, `{"spec":{"attachmentTickets":{"backup":null}}}`)
	s.waitMigration(t, waiting, virt.MigrationSucceeded)
	s.waitOn(t, ns, "node-2")
	s.requireWhole(t, vm)
}

func TestAVMWithADiskForOneNodeDoesNotMigrate(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	create(t, s, sharedClaim(t, s, ns, "a"), claim(ns, "b"), machine(ns, "vm", virt.RunStrategyAlways, "a", "b"))
	running := s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	reason := ""
	for _, c := range running.Status.Conditions {
		if c.Type == virt.VirtualMachineConditionType(virt.VirtualMachineInstanceIsMigratable) && c.Status == corev1.ConditionFalse {
			reason = c.Reason
		}
	}
	if reason != virt.VirtualMachineInstanceReasonDisksNotMigratable {
		t.Errorf("the VM says %+v", running.Status.Conditions)
	}
	s.waitMigration(t, s.migrate(t, ns, nil), virt.MigrationFailed)
	s.waitWrites(t, ns)
}
