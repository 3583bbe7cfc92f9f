package bench

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// makeAtOnce bounds how many claims are made, and how many VMBackups are
// created, at the same time.
const makeAtOnce = 10

// BenchmarkStopped: stopped VMs with a disk each, all backed up at once: until
// the last point is Ready, and the requests to the API server for each disk,
// until the last job is gone.
func BenchmarkStopped(b *testing.B) {
	n := setting(b, "HAYLOFT_BENCH_STOPPED", 100)
	w := newWorld(b)
	proxies := w.startCounted()
	w.targetReady(w.Target)
	each := func(do func(name string) error) {
		b.Helper()
		var g errgroup.Group
		g.SetLimit(makeAtOnce)
		for i := range n {
			g.Go(func() error { return do(fmt.Sprintf("vm-%d", i)) })
		}
		check(b, g.Wait())
	}
	each(func(name string) error {
		w.claim(name+"-root", 16*mib)
		return w.c.Create(w.ctx, w.vm(name, kubevirt.RunStrategyHalted, name+"-root"))
	})

	for _, p := range proxies {
		p.Reset()
	}
	began := time.Now()
	each(func(name string) error { return w.c.Create(w.ctx, w.newBackup(name, name, w.Target)) })
	asked := time.Since(began)
	w.eventually("all points to be Ready", func() bool {
		var list v1alpha1.VMBackupList
		check(b, w.c.List(w.ctx, &list, client.InNamespace(w.ns)))
		ready := 0
		for _, o := range list.Items {
			switch o.Status.Phase {
			case v1alpha1.BackupReady:
				ready++
			case v1alpha1.BackupFailed:
				b.Fatalf("point %s failed: %+v", o.Name, o.Status.Conditions)
			}
		}
		return ready == n
	})
	took := time.Since(began)
	w.settled()
	b.Logf("%d VMBackups created within %.1f s, all Ready after %.1f s, %s", n, asked.Seconds(), took.Seconds(), load())
	b.ReportMetric(took.Seconds(), "ready-s")
	b.ReportMetric(took.Seconds()/float64(n), "s/VM")
	reportRequests(b, proxies, n)
}
