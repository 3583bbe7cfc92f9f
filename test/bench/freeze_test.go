package bench

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// BenchmarkFreeze: a running VM with four disks and a guest agent, snapshots
// taken of it one after the other: the time between the first engine snapshot
// that is asked for and the last one that is cut, and the time that the guest is
// frozen. The point has both in whole milliseconds, rounded up.
func BenchmarkFreeze(b *testing.B) {
	w := newWorld(b)
	w.startHayloft()
	vm := w.vm("vm", kubevirt.RunStrategyAlways, w.filled(16*mib, "vm-root", "vm-data1", "vm-data2", "vm-data3")...)
	vm.Annotations = map[string]string{"local.hayloft.dev/guest-agent": "connected"}
	w.startVM(vm)

	var window, frozen []time.Duration
	for i := range setting(b, "HAYLOFT_BENCH_CUTS", 100) {
		o := w.newBackup(fmt.Sprintf("point-%d", i), "vm", "")
		o.Spec.Type = v1alpha1.TypeSnapshot
		w.createAndWatch(o, "to be Ready", func() bool { return o.Status.CompletedAt != nil })
		if o.Status.Consistency != v1alpha1.ConsistencyFrozen || len(o.Status.Disks) != 4 {
			b.Fatalf("point %s is %s: %s", o.Name, o.Status.Consistency, o.Status.ConsistencyMessage)
		}
		window = append(window, time.Duration(*o.Status.CutWindowMilliseconds)*time.Millisecond)
		frozen = append(frozen, time.Duration(*o.Status.FrozenMilliseconds)*time.Millisecond)
		check(b, w.c.Delete(w.ctx, o))
		w.eventually("point "+o.Name+" to be gone", func() bool {
			return apierrors.IsNotFound(w.c.Get(w.ctx, client.ObjectKeyFromObject(o), o))
		})
		w.settled()
	}
	b.Logf("%d cuts of 4 disks, %s", len(window), load())
	for what, all := range map[string][]time.Duration{"window": window, "frozen": frozen} {
		b.ReportMetric(milliseconds(quantile(all, 0.50)), what+"-p50-ms")
		b.ReportMetric(milliseconds(quantile(all, 0.99)), what+"-p99-ms")
	}
}
