package kubevirt_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"syscall"
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/guest"
	"hayloft.dev/deploy/local/kubevirt"
)

func claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			VolumeMode:       new(corev1.PersistentVolumeBlock),
			StorageClassName: new("longhorn"),
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("16Mi")}},
		},
	}
}

// machine is a VM with a disk for each claim.
func machine(namespace, name string, strategy virt.VirtualMachineRunStrategy, claims ...string) *virt.VirtualMachine {
	vm := &virt.VirtualMachine{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Annotations: map[string]string{kubevirt.WriteIntervalAnnotation: "5ms"},
		},
		Spec: virt.VirtualMachineSpec{RunStrategy: &strategy, Template: &virt.VirtualMachineInstanceTemplateSpec{}},
	}
	for _, claim := range claims {
		vm.Spec.Template.Spec.Volumes = append(vm.Spec.Template.Spec.Volumes, virt.Volume{
			Name: "disk-" + claim,
			VolumeSource: virt.VolumeSource{PersistentVolumeClaim: &virt.PersistentVolumeClaimVolumeSource{
				PersistentVolumeClaimVolumeSource: corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
			}},
		})
		vm.Spec.Template.Spec.Domain.Devices.Disks = append(vm.Spec.Template.Spec.Domain.Devices.Disks, virt.Disk{Name: "disk-" + claim})
	}
	return vm
}

func create(t *testing.T, s *stack, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := s.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVMStartsAndStops(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := machine(ns, "vm", virt.RunStrategyHalted, "a", "b")
	vm.Annotations[kubevirt.NodeAnnotation] = "node-2"
	create(t, s, claim(ns, "a"), claim(ns, "b"), vm)
	stopped := s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped)
	if stopped.Status.Created || stopped.Status.Ready || len(stopped.Status.Conditions) != 1 || stopped.Status.Conditions[0].Reason != "VMINotExists" {
		t.Errorf("a stopped VM has status %+v", stopped.Status)
	}

	s.change(t, vm, `{"spec":{"runStrategy":"Always"}}`)
	running := s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	if !running.Status.Created || !running.Status.Ready {
		t.Errorf("a running VM has status %+v", running.Status)
	}
	var vmi virt.VirtualMachineInstance
	s.read(t, ns, "vm", &vmi)
	if vmi.Status.NodeName != "node-2" || len(vmi.Status.VolumeStatus) != 2 ||
		vmi.Status.VolumeStatus[1].PersistentVolumeClaimInfo.ClaimName != "b" || vmi.Status.VolumeStatus[1].Target != "vdb" {
		t.Errorf("the instance has status %+v", vmi.Status)
	}
	for _, claim := range []string{"a", "b"} {
		volume, tickets := s.tickets(t, ns, claim)
		id := fmt.Sprintf("csi-%x", sha256.Sum256([]byte(volume+"driver.longhorn.io"+"node-2")))
		ticket := tickets[id]
		if len(tickets) != 1 || ticket == nil || ticket.Type != lh.AttacherTypeCSIAttacher || ticket.NodeID != "node-2" ||
			ticket.Parameters[lh.AttachmentParameterDisableFrontend] != lh.FalseValue {
			t.Errorf("claim %s has tickets %+v, want only %s", claim, tickets, id)
		}
	}
	until(t, "the guest writes", func() bool { return s.ask(t, ns, "vm", guest.Request{Op: guest.OpStatus}).Sequence > 10 })

	s.change(t, vm, `{"spec":{"runStrategy":"Halted"}}`)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped)
	s.waitNoTickets(t, ns, "a")
	s.waitNoTickets(t, ns, "b")
	until(t, "the instance is gone", func() bool {
		return apierrors.IsNotFound(s.Get(t.Context(), client.ObjectKeyFromObject(&vmi), &vmi))
	})
	for _, p := range s.procs.List() {
		if p.Labels["namespace"] == ns {
			t.Errorf("%s %s is still running", p.Kind, p.Name)
		}
	}
}

func TestDeletingARunningVMLeavesNothing(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := machine(ns, "vm", virt.RunStrategyAlways, "a")
	create(t, s, claim(ns, "a"), vm)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	if err := s.Delete(t.Context(), vm); err != nil {
		t.Fatal(err)
	}
	until(t, "the VM is gone", func() bool { return apierrors.IsNotFound(s.Get(t.Context(), client.ObjectKeyFromObject(vm), vm)) })
	s.waitNoTickets(t, ns, "a")
}

// A stand-in that is started again finds its guests gone. It says so and, as the run strategy wants, starts them anew.
func TestVMComesBackWithTheStandIn(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	create(t, s, claim(ns, "a"), machine(ns, "vm", virt.RunStrategyAlways, "a"))
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	var vmi virt.VirtualMachineInstance
	s.read(t, ns, "vm", &vmi)
	first := vmi.UID
	s.stopKubeVirt()
	for _, p := range s.procs.List() {
		if p.Kind == "guest" {
			t.Errorf("guest %s outlives the stand-in", p.Name)
		}
	}
	if err := s.startKubeVirt(); err != nil {
		t.Fatal(err)
	}
	until(t, "another instance runs", func() bool {
		err := s.Get(t.Context(), client.ObjectKeyFromObject(&vmi), &vmi)
		return err == nil && vmi.UID != first && vmi.Status.Phase == virt.Running
	})
	if _, tickets := s.tickets(t, ns, "a"); len(tickets) != 1 {
		t.Errorf("the disk has tickets %v", tickets)
	}
}

// What each strategy does when the guest is shut down from inside.
func TestShutdownFromInside(t *testing.T) {
	s := theStack(t)
	for _, test := range []struct {
		strategy virt.VirtualMachineRunStrategy
		restarts bool
	}{
		{virt.RunStrategyAlways, true},
		{virt.RunStrategyRerunOnFailure, false},
		{virt.RunStrategyManual, false},
	} {
		t.Run(string(test.strategy), func(t *testing.T) {
			ns := s.namespace(t)
			vm := machine(ns, "vm", test.strategy, "a")
			create(t, s, claim(ns, "a"), vm)
			if test.strategy == virt.RunStrategyManual {
				s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped)
				started := s.vm(t, ns, "vm")
				started.Status.StateChangeRequests = []virt.VirtualMachineStateChangeRequest{{Action: virt.StartRequest}}
				if err := s.Status().Update(t.Context(), started); err != nil {
					t.Fatal(err)
				}
			}
			s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
			var vmi virt.VirtualMachineInstance
			s.read(t, ns, "vm", &vmi)
			first := vmi.UID
			s.ask(t, ns, "vm", guest.Request{Op: guest.OpShutdown})
			if !test.restarts {
				s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped)
				s.waitNoTickets(t, ns, "a")
				if vm := s.vm(t, ns, "vm"); vm.Status.PrintableStatus != virt.VirtualMachineStatusStopped {
					t.Errorf("it is %s again", vm.Status.PrintableStatus)
				}
				return
			}
			until(t, "another instance runs", func() bool {
				err := s.Get(t.Context(), client.ObjectKeyFromObject(&vmi), &vmi)
				return err == nil && vmi.UID != first && vmi.Status.Phase == virt.Running
			})
		})
	}
}

// An engine that crashes takes the guest down; the next one goes on where the records end, and none is missing.
func TestVMComesBackAfterItsEngineCrashed(t *testing.T) {
	s := theStack(t)
	for _, strategy := range []virt.VirtualMachineRunStrategy{virt.RunStrategyAlways, virt.RunStrategyRerunOnFailure} {
		t.Run(string(strategy), func(t *testing.T) {
			ns := s.namespace(t)
			create(t, s, claim(ns, "a"), claim(ns, "b"), machine(ns, "vm", strategy, "a", "b"))
			s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
			var before uint64
			until(t, "the guest has written 50 rounds", func() bool {
				before = s.ask(t, ns, "vm", guest.Request{Op: guest.OpStatus}).Sequence
				return before > 50
			})
			volume, _ := s.tickets(t, ns, "b")
			killed := false
			for _, p := range s.procs.List() {
				if p.Kind == "engine" && p.Labels["volume"] == volume {
					killed = syscall.Kill(p.PID, syscall.SIGKILL) == nil
				}
			}
			if !killed {
				t.Fatalf("no engine of %s was found", volume)
			}
			until(t, "a guest writes behind the former one", func() bool {
				response, err := guest.Call(t.Context(), guest.ControlPath(s.dir, ns, "vm"), guest.Request{Op: guest.OpStatus})
				vm := s.vm(t, ns, "vm")
				return err == nil && vm.Status.PrintableStatus == virt.VirtualMachineStatusRunning && response.Sequence > before+100
			})
		})
	}
}

func TestMissingThingsAreNamedAndWaitedFor(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	create(t, s, machine(ns, "no-claim", virt.RunStrategyAlways, "late"))
	s.waitStatus(t, ns, "no-claim", virt.VirtualMachineStatusPvcNotFound)
	create(t, s, claim(ns, "late"))
	s.waitStatus(t, ns, "no-claim", virt.VirtualMachineStatusRunning)

	unbound := claim(ns, "unbound")
	unbound.Spec.StorageClassName = new("none-of-that-name")
	create(t, s, unbound, machine(ns, "waits", virt.RunStrategyAlways, "unbound"))
	s.waitStatus(t, ns, "waits", virt.VirtualMachineStatusWaitingForVolumeBinding)

	lost := machine(ns, "lost", virt.RunStrategyAlways, "c")
	lost.Spec.Template.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": "node-9"}
	create(t, s, claim(ns, "c"), lost)
	s.waitStatus(t, ns, "lost", virt.VirtualMachineStatusUnschedulable)

	secretive := machine(ns, "secretive", virt.RunStrategyAlways, "d")
	secretive.Spec.Template.Spec.Volumes = append(secretive.Spec.Template.Spec.Volumes, virt.Volume{
		Name: "init", VolumeSource: virt.VolumeSource{CloudInitNoCloud: &virt.CloudInitNoCloudSource{
			UserDataSecretRef: &corev1.LocalObjectReference{Name: "user-data"},
		}},
	})
	create(t, s, claim(ns, "d"), secretive)
	until(t, "the missing Secret is named", func() bool {
		for _, c := range s.vm(t, ns, "secretive").Status.Conditions {
			if strings.Contains(c.Message, "Secret "+ns+"/user-data does not exist") {
				return true
			}
		}
		return false
	})
	create(t, s, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "user-data"}})
	s.waitStatus(t, ns, "secretive", virt.VirtualMachineStatusRunning)
}

func TestMissingRevisionKeepsTheVMDown(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	typed := machine(ns, "typed", virt.RunStrategyAlways, "a")
	typed.Spec.Instancetype = &virt.InstancetypeMatcher{Name: "u1.small", RevisionName: "typed-revision"}
	preferred := machine(ns, "preferred", virt.RunStrategyAlways, "b")
	preferred.Spec.Preference = &virt.PreferenceMatcher{Name: "windows"}
	create(t, s, claim(ns, "a"), claim(ns, "b"), typed, preferred)
	for name, want := range map[string]string{
		"typed": "FailedFindInstancetype", "preferred": "FailedFindPreference",
	} {
		until(t, name+" says "+want, func() bool {
			for _, c := range s.vm(t, ns, name).Status.Conditions {
				if c.Type == virt.VirtualMachineFailure && c.Reason == want && c.Message != "" {
					return true
				}
			}
			return false
		})
		if vm := s.waitStatus(t, ns, name, virt.VirtualMachineStatusStopped); vm.Status.Created {
			t.Errorf("%s has status %+v", name, vm.Status)
		}
	}
	create(t, s, &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "typed-revision"},
		Revision:   1, Data: runtime.RawExtension{Raw: []byte(`{}`)},
	})
	s.waitStatus(t, ns, "typed", virt.VirtualMachineStatusRunning)
}
