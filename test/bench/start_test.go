package bench

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// startMiB is the size of the disk of a VM that starts while it is backed up: the
// transfer must still run then.
const startMiB = 256

// BenchmarkStart: a stopped VM starts, unaided and while the transfer of its
// backup runs, on the transfer's node and on another one, in turn. Volumes attach
// and detach as slowly as on the real Longhorn.
func BenchmarkStart(b *testing.B) {
	w := newWorldWith(b, harness.StackOptions{LogLevel: "info", RealTiming: true})
	w.startHayloft()
	w.targetReady(w.Target)
	vm := w.vm("vm", kubevirt.RunStrategyHalted, w.filled(startMiB*mib, "vm-root")...)
	check(b, w.c.Create(w.ctx, vm))

	all := map[string][]time.Duration{}
	for i := range setting(b, "HAYLOFT_BENCH_STARTS", 3) {
		all["unaided"] = append(all["unaided"], w.startOn(vm, w.Nodes[i%len(w.Nodes)].Name))
		w.stopped(vm)
		for _, same := range []bool{true, false} {
			name := fmt.Sprintf("point-%d-%t", i, same)
			w.local("disk", "fill", "--kubeconfig", w.Kubeconfig, "--namespace", w.ns, "--claim", "vm-root",
				"--seed", strconv.Itoa(10*i+len(name)), "--length", strconv.FormatInt(startMiB*mib-guestTail, 10))
			o := w.newBackup(name, "vm", w.Target)
			w.createAndWatch(o, "to be uploading", func() bool {
				return len(o.Status.Disks) > 0 && o.Status.Disks[0].State == v1alpha1.DiskTransferring
			})
			kind, node := "same-node", w.ticketNode("vm-root")
			if !same {
				kind, node = "other-node", w.otherNode(node)
			}
			check(b, w.c.Get(w.ctx, client.ObjectKeyFromObject(o), o))
			if o.Status.CompletedAt != nil {
				b.Fatalf("point %s has ended before its VM could start: %+v", name, o.Status.Conditions)
			}
			all[kind] = append(all[kind], w.startOn(vm, node))
			await(w, o, "to be Ready", func() bool { return o.Status.Phase == v1alpha1.BackupReady })
			w.stopped(vm)
		}
	}
	b.Logf("%v, %s", all, load())
	unaided := quantile(all["unaided"], 0.5)
	later := time.Duration(0) // the worst, over the usual unaided start
	for kind, took := range all {
		b.ReportMetric(quantile(took, 0.5).Seconds(), kind+"-s")
		if kind != "unaided" {
			later = max(later, quantile(took, 1)-unaided)
		}
	}
	b.ReportMetric(later.Seconds(), "later-s")
}

// startOn starts a VM on a node and tells how long it took until it ran.
func (w *world) startOn(vm *kubevirt.VirtualMachine, node string) time.Duration {
	w.b.Helper()
	began := time.Now()
	w.merge(vm, fmt.Sprintf(`{"spec":{"runStrategy":"Always","template":{"spec":{"nodeSelector":{%q:%q}}}}}`, corev1.LabelHostname, node))
	await(w, vm, "to run", func() bool { return vm.Status.PrintableStatus == kubevirt.VirtualMachineStatusRunning })
	return time.Since(began)
}

// stopped stops a VM and waits until its first disk is detached.
func (w *world) stopped(vm *kubevirt.VirtualMachine) {
	w.b.Helper()
	w.merge(vm, `{"spec":{"runStrategy":"Halted"}}`)
	await(w, vm, "to be stopped", func() bool { return vm.Status.PrintableStatus == kubevirt.VirtualMachineStatusStopped })
	v := &longhorn.Volume{}
	v.Namespace, v.Name = harness.LonghornNamespace, w.volumeOf(vm.Name+"-root")
	await(w, v, "to be detached", func() bool { return v.Status.State == longhorn.VolumeStateDetached })
}

func (w *world) merge(o client.Object, body string) {
	w.b.Helper()
	check(w.b, w.c.Patch(w.ctx, o, client.RawPatch("application/merge-patch+json", []byte(body))))
}

// ticketNode waits until a claim's volume is attached for us, and says where.
func (w *world) ticketNode(claim string) (node string) {
	w.b.Helper()
	va := &longhorn.VolumeAttachment{}
	va.Namespace, va.Name = harness.LonghornNamespace, w.volumeOf(claim)
	await(w, va, "to have a ticket of ours", func() bool {
		for id, t := range va.Spec.AttachmentTickets {
			if s := va.Status.AttachmentTicketStatuses[id]; strings.HasPrefix(id, names.TicketPrefix) && s != nil && s.Satisfied {
				node = t.NodeID
			}
		}
		return node != ""
	})
	return node
}

func (w *world) otherNode(node string) string {
	for _, n := range w.Nodes {
		if n.Name != node {
			return n.Name
		}
	}
	return ""
}
