package bench

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/containertest"
	"hayloft.dev/test/harness"
)

// BenchmarkFreeze: a running VM with four disks and a guest agent, snapshots
// taken of it one after the other: the time between the first engine snapshot
// that is asked for and the last one that is cut, and the time that the guest is
// frozen. The point has both in whole milliseconds, rounded up.
func BenchmarkFreeze(b *testing.B) {
	w := newWorld(b)
	w.startHayloft()
	w.cutAtRest(v1alpha1.ConsistencyFrozen, map[string]string{"local.hayloft.dev/guest-agent": "connected"})
}

// BenchmarkPause: the same with a VM without an agent, whose container, of a real
// containerd and runc, is paused.
func BenchmarkPause(b *testing.B) {
	ctrd := containertest.Start(b)
	w := newWorld(b)
	socket := w.PauserSocket(b)
	w.StartPauser(b, ctrd.Socket, socket)
	w.StartAgents(b, harness.ProgramOptions{Args: []string{"--pauser-socket", socket}})
	w.StartCoordinator(b, "coordinator-1", harness.ProgramOptions{})
	vm := w.cutAtRest(v1alpha1.ConsistencyPaused, map[string]string{"local.hayloft.dev/containerd": ctrd.Socket})
	w.removeVM(vm)
}

// removeVM ends a VM before the containerd goes that its container needs.
func (w *world) removeVM(vm *kubevirt.VirtualMachine) {
	w.b.Helper()
	check(w.b, w.c.Delete(w.ctx, vm))
	w.eventually("the VM to be gone", func() bool {
		return apierrors.IsNotFound(w.c.Get(w.ctx, client.ObjectKeyFromObject(vm), vm))
	})
}

// cutAtRest makes a VM, takes points of it and deletes them, and reports what it
// cost the VM.
func (w *world) cutAtRest(want v1alpha1.Consistency, annotations map[string]string) *kubevirt.VirtualMachine {
	w.b.Helper()
	vm := w.vm("vm", kubevirt.RunStrategyAlways, w.filled(16*mib, "vm-root", "vm-data1", "vm-data2", "vm-data3")...)
	vm.Annotations = annotations
	w.startVM(vm)

	var window, still []time.Duration
	for i := range setting(w.b, "HAYLOFT_BENCH_CUTS", 100) {
		o := w.newBackup(fmt.Sprintf("point-%d", i), "vm", "")
		o.Spec.Type = v1alpha1.TypeSnapshot
		w.createAndWatch(o, "to be Ready", func() bool { return o.Status.CompletedAt != nil })
		if o.Status.Consistency != want || len(o.Status.Disks) != 4 {
			w.b.Fatalf("point %s is %s: %s", o.Name, o.Status.Consistency, o.Status.ConsistencyMessage)
		}
		window = append(window, time.Duration(*o.Status.CutWindowMilliseconds)*time.Millisecond)
		still = append(still, time.Duration(*o.Status.FrozenMilliseconds)*time.Millisecond)
		check(w.b, w.c.Delete(w.ctx, o))
		w.eventually("point "+o.Name+" to be gone", func() bool {
			return apierrors.IsNotFound(w.c.Get(w.ctx, client.ObjectKeyFromObject(o), o))
		})
		w.settled()
	}
	w.b.Logf("%d cuts of 4 disks, %s", len(window), load())
	for what, all := range map[string][]time.Duration{"window": window, "still": still} {
		w.b.ReportMetric(milliseconds(quantile(all, 0.50)), what+"-p50-ms")
		w.b.ReportMetric(milliseconds(quantile(all, 0.99)), what+"-p99-ms")
	}
	return vm
}
