package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkCut: from the request that creates a VMBackup until its snapshots
// are cut, everything else at rest: the moment of the cut itself, by the same
// machine's clock, and the moment that a watch tells of it.
func BenchmarkCut(b *testing.B) {
	w := newWorld(b)
	w.startHayloft()
	w.targetReady(w.Target)
	w.runningVM("vm", 16*mib)
	w.backup("warm", "vm", w.Target)
	w.settled()

	var cut, told, ready []time.Duration
	for i := range setting(b, "HAYLOFT_BENCH_CUTS", 100) {
		o := w.newBackup(fmt.Sprintf("point-%d", i), "vm", w.Target)
		began := time.Now()
		told = append(told, w.createAndWatch(o, "to be cut", func() bool { return o.Status.CutAt != nil }))
		cut = append(cut, o.Status.CutAt.Sub(began))
		await(w, o, "to be Ready", func() bool { return o.Status.CompletedAt != nil })
		ready = append(ready, time.Since(began))
		w.settled()
	}
	b.Logf("%d cuts, %s", len(cut), load())
	for what, all := range map[string][]time.Duration{"cut": cut, "told": told, "ready": ready} {
		b.ReportMetric(milliseconds(quantile(all, 0.50)), what+"-p50-ms")
		b.ReportMetric(milliseconds(quantile(all, 0.99)), what+"-p99-ms")
	}
}

// quantile is the smallest of the values that at least the given share of them
// does not exceed.
func quantile(values []time.Duration, share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	i := int(share*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
