package bench

import (
	"fmt"
	"os"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
	"hayloft.dev/test/harness"
)

// sides are measured in this order, so that what changes over time, such as
// caches and the machine's other load, weighs on both alike.
var sides = []string{"hayloft", "engine", "engine", "hayloft"}

// BenchmarkBackup: from the creation of a VMBackup of a running VM with two
// disks of random data until it is Ready, over the bare engine's command line
// backing up two snapshots of the same disks at once. Each goes to a place of
// its own on the same S3 server, so that nothing is there already.
func BenchmarkBackup(b *testing.B) {
	size := int64(setting(b, "HAYLOFT_BENCH_MIB", 1024)) * mib
	w := newWorld(b)
	w.startHayloft()
	spec := w.targetReady(w.Target).Spec
	w.runningVM("vm", size)

	// The snapshots that the command line backs up.
	var engines []*bare
	for _, claim := range []string{"vm-root", "vm-data"} {
		e := w.bareEngine(w.volumeOf(claim))
		_, err := e.cli("snapshot", "create", "bench")
		check(b, err)
		engines = append(engines, e)
	}
	both := map[string]time.Duration{}
	for i, side := range sides {
		var took time.Duration
		if side == "hayloft" {
			t := w.emptyTarget(fmt.Sprintf("bucket-%d", i), spec)
			o, d := w.backup(fmt.Sprintf("point-%d", i), "vm", t)
			for _, disk := range o.Status.Disks {
				if disk.Incremental {
					b.Fatalf("disk %s was not uploaded whole", disk.Name)
				}
			}
			w.settled()
			w.forget(t, "backupstore")
			took = d
		} else {
			place := fmt.Sprintf("bare-%d", i)
			url := fmt.Sprintf("s3://%s@%s/%s/", w.S3.Bucket, w.S3.Region, place)
			took = atOnce(w, engines, func(e *bare) error { return e.backup(place, "bench", url, spec) })
			w.forget(w.S3.Bucket, place)
		}
		b.Logf("%s: %.1f s, %s", side, took.Seconds(), load())
		both[side] += took
	}
	report(b, both)
}

// BenchmarkRestore: from the creation of a VMRestore until it is Ready, its VM
// left halted, over the bare engine's command line restoring the same backups
// into two fresh volumes, attached before, with two replicas each.
func BenchmarkRestore(b *testing.B) {
	size := int64(setting(b, "HAYLOFT_BENCH_MIB", 1024)) * mib
	w := newWorld(b)
	w.startHayloft()
	t := w.targetReady(w.Target)
	w.runningVM("vm", size)
	point, _ := w.backup("point", "vm", w.Target)
	w.settled()
	url, err := target.URL(t.Spec)
	check(b, err)

	type pair struct {
		engine *bare
		disk   v1alpha1.BackupDisk
	}
	both := map[string]time.Duration{}
	for i, side := range sides {
		var took time.Duration
		if side == "hayloft" {
			took = w.restore(fmt.Sprintf("copy-%d", i), point)
			w.settled()
		} else {
			var pairs []pair
			for _, d := range point.Status.Disks {
				pairs = append(pairs, pair{w.fresh(fmt.Sprintf("bare-%d-%s", i, d.Name), d.SizeBytes), d})
			}
			took = atOnce(w, pairs, func(p pair) error {
				return p.engine.restore(p.disk.Backup, target.BackupURL(url, p.disk.Volume, p.disk.Backup), t.Spec.Threads)
			})
			for _, p := range pairs {
				v := &longhorn.Volume{}
				v.Namespace, v.Name = harness.LonghornNamespace, p.engine.loc.Volume
				check(b, w.c.Delete(w.ctx, v))
			}
		}
		b.Logf("%s: %.1f s, %s", side, took.Seconds(), load())
		both[side] += took
	}
	report(b, both)
}

func report(b *testing.B, both map[string]time.Duration) {
	b.ReportMetric(both["hayloft"].Seconds()/both["engine"].Seconds(), "ratio")
	b.ReportMetric(both["hayloft"].Seconds()/2, "hayloft-s")
	b.ReportMetric(both["engine"].Seconds()/2, "engine-s")
}

// emptyTarget makes a bucket and a BackupTarget for it, both called name.
func (w *world) emptyTarget(name string, like v1alpha1.BackupTargetSpec) string {
	w.b.Helper()
	check(w.b, os.Mkdir(w.onTarget(name), 0o755))
	t := &v1alpha1.BackupTarget{}
	t.Name, t.Spec = name, *like.DeepCopy()
	t.Spec.S3.Bucket = name
	check(w.b, w.c.Create(w.ctx, t))
	w.targetReady(name)
	return name
}

// restore restores a point to a new VM that stays halted.
func (w *world) restore(vm string, point *v1alpha1.VMBackup) time.Duration {
	w.b.Helper()
	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name = w.ns, vm
	r.Spec.Backup, r.Spec.NewVM, r.Spec.HaltAfterRestore = point.Name, vm, true
	var line timeline
	took := w.createAndWatch(r, "to be Ready", func() bool {
		line.see(string(r.Status.Phase))
		if r.Status.Phase == v1alpha1.RestoreFailed {
			w.b.Fatalf("restore %s failed: %+v", vm, r.Status.Conditions)
		}
		return r.Status.Phase == v1alpha1.RestoreReady
	})
	w.b.Logf("restore %s:%s", vm, line.text)
	return took
}
