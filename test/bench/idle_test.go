package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

const (
	idleVMs    = 50
	idlePoints = 200
	// warmUp is what the programs do at start: fill caches, elect, probe.
	warmUp = 15 * time.Second
)

// BenchmarkIdle: memory and CPU of agents and coordinators that have nothing to
// do, with three nodes, 50 halted VMs, 200 Ready points and a target that
// answers. The leader is the coordinator that used more.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b)
	for i := range idleVMs {
		name := fmt.Sprintf("vm-%d", i)
		check(b, w.c.Create(w.ctx, w.vm(name, kubevirt.RunStrategyHalted, name+"-root", name+"-data")))
	}
	for i := range idlePoints {
		w.readyPoint(i)
	}
	agents, coordinators := w.startHayloft()
	w.targetReady(w.Target)
	w.pass(warmUp)

	window := w.idleWindow()
	programs := append(agents, coordinators...)
	before := make([]usage, len(programs))
	for i, p := range programs {
		before[i] = w.usageOf(p.PID())
	}
	began := time.Now()
	w.pass(window)
	took := time.Since(began)
	worst := map[string]figures{}
	for i, p := range programs {
		after := w.usageOf(p.PID())
		f := figures{
			mib:        after.rss / mib,
			millicores: millicores(after.cpu-before[i].cpu, took),
			children:   millicores(after.children-before[i].children, took),
		}
		b.Logf("%s %s: %.1f MiB, %.1f millicores, %.1f more in children", p.Kind, p.Name, f.mib, f.millicores, f.children)
		worst[p.Kind] = figures{max(worst[p.Kind].mib, f.mib), max(worst[p.Kind].millicores, f.millicores), max(worst[p.Kind].children, f.children)}
	}
	b.Logf("over %s, %s", took.Round(time.Second), load())
	for kind, f := range worst {
		b.ReportMetric(f.mib, kind+"-MiB")
		b.ReportMetric(f.millicores, kind+"-millicores")
	}
	b.ReportMetric(worst["coordinator"].children, "targetio-millicores")
}

// idleWindow is how long nothing is to happen.
func (w *world) idleWindow() time.Duration {
	w.b.Helper()
	text := os.Getenv("HAYLOFT_BENCH_IDLE")
	if text == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(text)
	check(w.b, err)
	return d
}

// pass lets time go by: what is measured here is what happens when nothing does.
func (w *world) pass(d time.Duration) {
	w.b.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.ctx.Done():
		w.b.Fatal("the benchmark ended")
	case <-timer.C:
	}
}

// readyPoint writes a point as one that was made long ago.
func (w *world) readyPoint(i int) {
	w.b.Helper()
	vm := fmt.Sprintf("vm-%d", i%idleVMs)
	o := w.newBackup(fmt.Sprintf("point-%d", i), vm, w.Target)
	check(w.b, w.c.Create(w.ctx, o))
	at := metav1.NewTime(time.Now().Add(time.Duration(i-idlePoints) * time.Hour))
	cut, window, uploaded := metav1.NewMicroTime(at.Time), int64(3), int64(256*mib)
	o.Status = v1alpha1.VMBackupStatus{
		ObservedGeneration: o.Generation, Phase: v1alpha1.BackupReady, Consistency: v1alpha1.ConsistencyCrash,
		StartedAt: &at, CutAt: &cut, CompletedAt: &at, CutWindowMilliseconds: &window, ProgressText: "100%",
		Document:       fmt.Sprintf("hayloft/points/%s/%s-%s.json", o.Namespace, o.Name, o.UID),
		DocumentDigest: "sha256:" + strings.Repeat("0", 64),
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", Message: "every disk is on the target", LastTransitionTime: at,
		}},
	}
	for _, disk := range []string{vm + "-root", vm + "-data"} {
		o.Status.Disks = append(o.Status.Disks, v1alpha1.BackupDisk{
			Name: disk, Claim: disk, Volume: "pvc-" + disk, SizeBytes: 1024 * mib, State: v1alpha1.DiskDone, Attempt: 1,
			Snapshot: fmt.Sprintf("hl-%s-c1-%s", o.UID, disk), Backup: fmt.Sprintf("hl-%s-a1-%s", o.UID, disk), UploadedBytes: &uploaded,
		})
	}
	check(w.b, w.c.Status().Update(w.ctx, o))
}

// usage is what processes have used so far.
type usage struct {
	rss           float64 // bytes
	cpu, children time.Duration
}

type figures struct{ mib, millicores, children float64 }

// tick is the kernel's unit of CPU time in /proc, 1/USER_HZ on every Linux.
const tick = 10 * time.Millisecond

func (w *world) usageOf(pids ...int) (sum usage) {
	w.b.Helper()
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		check(w.b, err)
		_, rest, _ := strings.Cut(string(raw), ") ") // the name before it may hold spaces
		fields := strings.Fields(rest)               // from the state, which proc(5) counts as the third
		number := func(field int) int64 {
			n, err := strconv.ParseInt(fields[field-3], 10, 64)
			check(w.b, err)
			return n
		}
		sum.rss += float64(number(24)) * float64(os.Getpagesize())
		sum.cpu += time.Duration(number(14)+number(15)) * tick
		sum.children += time.Duration(number(16)+number(17)) * tick
	}
	return sum
}

func millicores(cpu, window time.Duration) float64 { return 1000 * cpu.Seconds() / window.Seconds() }
