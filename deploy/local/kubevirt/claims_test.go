package kubevirt_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virt "kubevirt.io/api/core/v1"
	cdi "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/guest"
	"hayloft.dev/deploy/local/kubevirt"
	"hayloft.dev/deploy/local/longhorn"
)

func TestDataVolumeTemplate(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := machine(ns, "vm", virt.RunStrategyAlways)
	vm.Annotations[kubevirt.WriteIntervalAnnotation] = "0"
	vm.Spec.Template.Spec.Volumes = []virt.Volume{{Name: "root", VolumeSource: virt.VolumeSource{DataVolume: &virt.DataVolumeSource{Name: "dv"}}}}
	spec := claim(ns, "dv").Spec
	vm.Spec.DataVolumeTemplates = []virt.DataVolumeTemplateSpec{{
		ObjectMeta: metav1.ObjectMeta{Name: "dv"},
		Spec:       cdi.DataVolumeSpec{Source: &cdi.DataVolumeSource{Blank: &cdi.DataVolumeBlankImage{}}, PVC: &spec},
	}}
	create(t, s, vm)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	var pvc corev1.PersistentVolumeClaim
	s.read(t, ns, "dv", &pvc)
	if !metav1.IsControlledBy(&pvc, s.vm(t, ns, "vm")) {
		t.Errorf("the DataVolume's claim is not the VM's: %+v", pvc.OwnerReferences)
	}
	hash := guest.Request{Op: guest.OpHash, Disk: "root"}
	s.ask(t, ns, "vm", guest.Request{Op: guest.OpFill, Disk: "root", Length: 4 << 20, Seed: 3})
	filled := s.ask(t, ns, "vm", hash).SHA256

	// A restart finds the claim populated and leaves it alone.
	s.change(t, vm, `{"spec":{"runStrategy":"Halted"}}`)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped)
	s.waitNoTickets(t, ns, "dv")
	s.change(t, vm, `{"spec":{"runStrategy":"Always"}}`)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	if after := s.ask(t, ns, "vm", hash).SHA256; after != filled {
		t.Error("a restart changed the disk")
	}

	// Over a claim that was not made for it, as one that a restore made, the DataVolume overwrites the data.
	s.change(t, vm, `{"spec":{"runStrategy":"Halted"}}`)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped)
	s.waitNoTickets(t, ns, "dv")
	s.change(t, &pvc, `{"metadata":{"annotations":{"cdi.kubevirt.io/storage.populatedFor":null}}}`)
	s.change(t, vm, `{"spec":{"runStrategy":"Always"}}`)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	blank := sha256.Sum256(make([]byte, 16<<20))
	if after := s.ask(t, ns, "vm", hash).SHA256; after != hex.EncodeToString(blank[:]) {
		t.Error("a new DataVolume left data on the disk")
	}
	s.read(t, ns, "dv", &pvc)
	if pvc.Annotations["cdi.kubevirt.io/storage.populatedFor"] != "dv" {
		t.Errorf("the claim does not say that it was populated: %v", pvc.Annotations)
	}
}

func TestHarvestersClaimTemplates(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := machine(ns, "vm", virt.RunStrategyHalted, "listed")
	templates, err := json.Marshal([]*corev1.PersistentVolumeClaim{claim("", "listed"), claim("", "extra")})
	if err != nil {
		t.Fatal(err)
	}
	vm.Annotations["harvesterhci.io/volumeClaimTemplates"] = string(templates)
	create(t, s, vm)
	until(t, "the listed claims are made and bound", func() bool {
		for _, name := range []string{"listed", "extra"} {
			var pvc corev1.PersistentVolumeClaim
			err := s.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &pvc)
			if err != nil || pvc.Status.Phase != corev1.ClaimBound {
				return false
			}
		}
		return true
	})
}

func TestPersistentStateClaim(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := machine(ns, "win", virt.RunStrategyAlways, "a")
	vm.Spec.Template.Spec.Domain.Devices.TPM = &virt.TPMDevice{Persistent: new(true)}
	vm.Spec.Template.Spec.Domain.Firmware = &virt.Firmware{Bootloader: &virt.Bootloader{EFI: &virt.EFI{Persistent: new(true)}}}
	create(t, s, claim(ns, "a"), vm)
	s.waitStatus(t, ns, "win", virt.VirtualMachineStatusRunning)
	state := func() corev1.PersistentVolumeClaim {
		var list corev1.PersistentVolumeClaimList
		if err := s.List(t.Context(), &list, client.InNamespace(ns), client.MatchingLabels{"persistent-state-for": "win"}); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 {
			t.Fatalf("%d claims keep the VM's state, want 1", len(list.Items))
		}
		return list.Items[0]
	}
	first := state()
	if !strings.HasPrefix(first.Name, "persistent-state-for-win-") || len(first.Name) != len("persistent-state-for-win-")+5 ||
		!metav1.IsControlledBy(&first, s.vm(t, ns, "win")) {
		t.Errorf("the state's claim is %s, owned by %+v", first.Name, first.OwnerReferences)
	}
	if _, tickets := s.tickets(t, ns, first.Name); len(tickets) != 1 {
		t.Errorf("the state's volume has tickets %+v", tickets)
	}
	s.ask(t, ns, "win", guest.Request{Op: guest.OpShutdown})
	until(t, "it is restarted on the same state", func() bool {
		response, err := guest.Call(t.Context(), guest.ControlPath(s.dir, ns, "win"), guest.Request{Op: guest.OpStatus})
		return err == nil && len(response.Disks) == 2 && response.Disks[1].Name == first.Name && response.Sequence > 0
	})
	if again := state(); again.UID != first.UID {
		t.Error("another state was made")
	}
}

// The command attaches a free claim, leaves it detached, and refuses the disk of a running VM.
func TestDiskCommand(t *testing.T) {
	s := theStack(t)
	ns := s.namespace(t)
	vm := machine(ns, "vm", virt.RunStrategyHalted, "a")
	create(t, s, claim(ns, "a"), vm)
	until(t, "the claim is bound", func() bool {
		var pvc corev1.PersistentVolumeClaim
		s.read(t, ns, "a", &pvc)
		return pvc.Status.Phase == corev1.ClaimBound
	})
	run := func(args ...string) (string, error) {
		command := disk.Command()
		var out strings.Builder
		command.SetOut(&out)
		command.SetArgs(append(args, "--kubeconfig", filepath.Join(s.dir, "kubeconfig"), "--namespace", ns, "--claim", "a"))
		command.SilenceUsage, command.SilenceErrors = true, true
		err := command.ExecuteContext(t.Context())
		return strings.TrimSpace(out.String()), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	must("fill", "--length", "3000000", "--seed", "9")
	want := make([]byte, 16<<20)
	disk.Random(want[:3000000], 0, 9)
	sum := sha256.Sum256(want)
	if got := must("sha256"); got != hex.EncodeToString(sum[:]) {
		t.Errorf("the filled disk's digest is %s", got)
	}
	file := filepath.Join(t.TempDir(), "out")
	must("export", "--file", file)
	if got, err := os.ReadFile(file); err != nil || sha256.Sum256(got) != sum {
		t.Errorf("the exported file differs (%v)", err)
	}
	if got := must("sequence"); got != "sequence=0 whole=true damaged=0" {
		t.Errorf("sequence of a disk that no guest wrote: %s", got)
	}
	volume, tickets := s.tickets(t, ns, "a")
	var v lh.Volume
	s.read(t, longhorn.DefaultNamespace, volume, &v)
	if len(tickets) != 0 || v.Status.State != lh.VolumeStateDetached {
		t.Errorf("the command left the volume %s with tickets %v", v.Status.State, tickets)
	}

	// The ticket of a process that is there is respected, that of a dead one is taken over.
	for holder, want := range map[int]string{os.Getppid(): "in use by hayloft-local-disk pid", 1 << 30: ""} {
		s.change(t, &lh.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Namespace: longhorn.DefaultNamespace, Name: volume}}, fmt.Sprintf(
			`{"spec":{"attachmentTickets":{"longhorn-api-hayloft-local-disk":{"id":"longhorn-api-hayloft-local-disk","type":"longhorn-api",`+
				`"nodeID":"node-1","parameters":{"disableFrontend":"false","lastAttachedBy":"hayloft-local-disk pid %d"}}}}}`, holder))
		_, err := run("sha256")
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("with the ticket of process %d: %v", holder, err)
		}
	}
	s.change(t, &lh.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Namespace: longhorn.DefaultNamespace, Name: volume}},
		`{"spec":{"attachmentTickets":{"longhorn-api-hayloft-local-disk":null}}}`)

	s.change(t, vm, `{"spec":{"runStrategy":"Always"}}`)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusRunning)
	if _, err := run("sha256"); err == nil || !strings.Contains(err.Error(), "running VM "+ns+"/vm: use `hayloft-local vm`") {
		t.Errorf("for a running VM's disk: %v", err)
	}
	if _, tickets := s.tickets(t, ns, "a"); len(tickets) != 1 {
		t.Errorf("the refused command left tickets %v", tickets)
	}
	last := s.ask(t, ns, "vm", guest.Request{Op: guest.OpQuiet}).Sequence
	s.change(t, vm, `{"spec":{"runStrategy":"Halted"}}`)
	s.waitStatus(t, ns, "vm", virt.VirtualMachineStatusStopped)
	s.waitNoTickets(t, ns, "a")
	got := must("sequence")
	if !strings.HasPrefix(got, fmt.Sprintf("sequence=%d whole=true damaged=0 disk=disk-a vm=%s ", last, s.vm(t, ns, "vm").UID)) {
		t.Errorf("the last record is %q, want sequence %d", got, last)
	}
}
