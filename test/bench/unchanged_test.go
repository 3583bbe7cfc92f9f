package bench

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	kubevirt "kubevirt.io/api/core/v1"
)

// unchangedRounds of each side: one takes a few seconds, so a single one says
// little.
const unchangedRounds = 6

// BenchmarkUnchanged: a disk of a running VM that was backed up before and has
// not been written since, backed up again, over the bare engine's command line
// doing the same: a snapshot, and its backup, to a place of its own.
func BenchmarkUnchanged(b *testing.B) {
	size := int64(setting(b, "HAYLOFT_BENCH_MIB", 1024)) * mib
	w := newWorld(b)
	w.startHayloft()
	spec := w.targetReady(w.Target).Spec
	w.startVM(w.vm("vm", kubevirt.RunStrategyAlways, w.filled(size, "vm-root")...))
	w.local("vm", "quiet", w.ns+"/vm", "--dir", w.Dir)
	e := w.bareEngine(w.volumeOf("vm-root"))
	bare := func(round string) time.Duration {
		began := time.Now()
		_, err := e.cli("snapshot", "create", round)
		check(b, err)
		check(b, e.backup(round, round, fmt.Sprintf("s3://%s@%s/bare/", w.S3.Bucket, w.S3.Region), spec))
		return time.Since(began)
	}
	w.backup("first", "vm", w.Target)
	bare("first")
	w.settled()

	all := map[string][]time.Duration{}
	for i := range unchangedRounds {
		round := "round-" + strconv.Itoa(i)
		o, took := w.backup(round, "vm", w.Target)
		if d := o.Status.Disks[0]; !d.Incremental || *d.UploadedBytes > mib {
			b.Fatalf("disk %s was not backed up as unchanged: %+v", d.Name, d)
		}
		w.settled()
		all["hayloft"] = append(all["hayloft"], took)
		all["engine"] = append(all["engine"], bare(round))
	}
	b.Logf("hayloft %v, engine %v, %s", all["hayloft"], all["engine"], load())
	hayloft, engine := quantile(all["hayloft"], 0.5).Seconds(), quantile(all["engine"], 0.5).Seconds()
	b.ReportMetric(hayloft/engine, "ratio")
	b.ReportMetric(hayloft, "hayloft-s")
	b.ReportMetric(engine, "engine-s")
}
