package scale

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// BenchmarkSchedules: 10,000 schedules of 5,000 VMs with 80,000 retained points,
// at rest and while 1,000 of them fire at the same nominal time.
func BenchmarkSchedules(b *testing.B) {
	w := newWorld(b)
	n := setting(b, "HAYLOFT_BENCH_VMS", 5000)
	firing := min(n, setting(b, "HAYLOFT_BENCH_FIRING", 1000))
	window := time.Minute
	if text := os.Getenv("HAYLOFT_BENCH_IDLE"); text != "" {
		var err error
		window, err = time.ParseDuration(text)
		check(b, err)
	}
	w.fill(n)
	b.Logf("etcd's file: %.1f MiB", float64(w.etcd.bytes())/mib)
	b.ReportMetric(float64(w.etcd.bytes())/mib, "etcd-MiB")
	a := w.startAgents()

	began := time.Now()
	p := w.startCoordinator()
	w.leads(p)
	b.Logf("the coordinator leads after %s", time.Since(began).Round(100*time.Millisecond))
	w.atRest(p)
	start := w.usage(p)
	b.Logf("from its start until it rests: %s, CPU %.1f s, peak %.0f MiB", time.Since(began).Round(time.Second), start.cpu.Seconds(), start.peak)
	b.ReportMetric(start.peak, "start-peak-MiB")
	b.ReportMetric(start.cpu.Seconds(), "start-CPU-s")

	w.setBack(p)
	before := w.usage(p)
	w.pass(window)
	after := w.usage(p)
	b.Logf("at rest: %.0f MiB, %.1f millicores, %s", after.peak, millicores(before, after), load())
	b.ReportMetric(after.peak, "idle-MiB")
	b.ReportMetric(millicores(before, after), "idle-millicores")
	w.scrape(p, 1, "first-scrape-CPU-ms")
	w.scrape(p, 20, "scrape-CPU-ms")

	w.setBack(p)
	f := w.fire(p, a, firing)
	b.Logf("%d schedules fired at once; first job after p50 %s, p99 %s; all points Ready after %s, at rest again after %s, %s",
		firing, f.p50, f.p99, f.ready, f.rest, load())
	b.Logf("meanwhile: peak %.0f MiB, CPU %.1f s of the coordinator", f.peak, f.cpu.Seconds())
	b.ReportMetric(f.p50.Seconds(), "late-p50-s")
	b.ReportMetric(f.p99.Seconds(), "late-p99-s")
	b.ReportMetric(f.ready.Seconds(), "all-ready-s")
	b.ReportMetric(f.peak, "firing-peak-MiB")
	b.ReportMetric(f.cpu.Seconds(), "firing-CPU-s")
	b.Logf("etcd's file: %.1f MiB", float64(w.etcd.bytes())/mib)
}

// leads waits until a coordinator leads.
func (w *world) leads(p *harness.Program) {
	w.b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; {
		answer, err := http.Get(p.URL + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		if !p.Running() || time.Now().After(deadline) {
			w.b.Fatalf("the coordinator is not ready: %v\n%s", err, p.Log(w.b))
		}
		w.pass(100 * time.Millisecond)
	}
}

// scrape reads the metrics some times, as Prometheus does. CPU is what one took,
// with its part of the garbage, which is reported under a name.
func (w *world) scrape(p *harness.Program, times int, name string) {
	w.b.Helper()
	before, read := w.usage(p), int64(0)
	for range times {
		answer, err := http.Get(p.URL + "/metrics")
		check(w.b, err)
		n, err := io.Copy(io.Discard, answer.Body)
		check(w.b, err)
		check(w.b, answer.Body.Close())
		read += n
	}
	after, n := w.usage(p), time.Duration(times)
	cpu := (after.cpu - before.cpu) / n
	w.b.Logf("a scrape (%d in a row): %.1f MiB in %s, CPU %s, %.0f MiB of memory after them",
		times, float64(read)/float64(times)/mib, (after.at.Sub(before.at) / n).Round(time.Millisecond), cpu.Round(time.Millisecond), after.rss)
	w.b.ReportMetric(float64(cpu.Milliseconds()), name)
}

// fired is how it went when many schedules fired.
type fired struct {
	p50, p99    time.Duration // from the nominal time until a watch tells of the point's first job
	ready, rest time.Duration
	peak        float64
	cpu         time.Duration
}

// fire has the backup schedules of the first VMs fire at the next minute but one,
// by an edit that takes effect at once, and waits until all of it is done.
func (w *world) fire(p *harness.Program, a *agents, n int) (f fired) {
	w.b.Helper()
	at := time.Now().UTC().Truncate(time.Minute).Add(2 * time.Minute)
	cron := fmt.Sprintf("%d %d * * *", at.Minute(), at.Hour())
	g, ctx := errgroup.WithContext(w.ctx)
	g.SetLimit(16)
	for _, m := range w.machines[:n] {
		g.Go(func() error {
			s := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: m.namespace, Name: m.schedule(v1alpha1.TypeBackup)}}
			patch := fmt.Appendf(nil, `{"spec":{"cron":%q}}`, cron)
			return w.c.Patch(ctx, s, client.RawPatch(types.MergePatchType, patch))
		})
	}
	check(w.b, g.Wait())
	edited := time.Now()
	if edited.After(at) {
		w.b.Fatalf("editing %d schedules took too long", n)
	}
	w.pass(time.Until(at.Add(-time.Second)))
	from := w.points()
	before, asked := w.usage(p), w.served()
	profiled := w.profile(profileSeconds)
	w.allBegun(a.have(n))
	now, answered := w.usage(p), w.served()
	w.b.Logf("until the last first job: CPU %.1f s of the coordinator, %.1f s of the API server and etcd, peak %.0f MiB; %s",
		(now.cpu - before.cpu).Seconds(), (answered.cpu - asked.cpu).Seconds(), now.peak, between(asked, answered))
	w.allReady(from, at, n)
	f.ready = time.Since(at).Round(100 * time.Millisecond)
	profiled()
	w.atRest(p)
	after := w.usage(p)
	f.rest, f.cpu, f.peak = after.at.Sub(at).Round(time.Second), after.cpu-before.cpu, after.peak
	late := a.since(at)
	slices.Sort(late)
	if len(late) < n {
		w.b.Fatalf("%d points have jobs, of %d", len(late), n)
	}
	f.p50, f.p99 = late[len(late)/2].Round(10*time.Millisecond), late[len(late)*99/100].Round(10*time.Millisecond)
	return f
}

// profileSeconds is about how long it takes until each has its first job.
const profileSeconds = 8

// points is where a watch of all points begins that tells of what comes from now on.
func (w *world) points() (resourceVersion string) {
	w.b.Helper()
	var list v1alpha1.VMBackupList
	check(w.b, w.c.List(w.ctx, &list, client.Limit(1)))
	return list.ResourceVersion
}

// longest is how long what fires at once may take, all of it.
const longest = 20 * time.Minute

// allBegun waits until each has its first job.
func (w *world) allBegun(jobs <-chan struct{}) {
	w.b.Helper()
	select {
	case <-jobs:
	case <-w.ctx.Done():
		w.b.Fatal("the benchmark ended")
	case <-time.After(longest):
		w.b.Fatal("some have no job")
	}
}

// allReady waits until so many points of a nominal time are Ready. It watches them
// from a moment on that has passed: until their first jobs no watch of its own is to
// be served.
func (w *world) allReady(from string, at time.Time, n int) {
	w.b.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, longest)
	defer cancel()
	events, err := w.c.Watch(ctx, &v1alpha1.VMBackupList{}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from}})
	check(w.b, err)
	defer events.Stop()
	nominal, ready := at.Format(v1alpha1.NominalTimeLayout), map[types.UID]bool{}
	for len(ready) < n {
		select {
		case <-ctx.Done():
			w.b.Fatalf("%d of %d points are Ready", len(ready), n)
		case e, open := <-events.ResultChan():
			if !open {
				w.b.Fatal("the watch of VMBackups ended")
			}
			o, ok := e.Object.(*v1alpha1.VMBackup)
			if !ok || o.Annotations[v1alpha1.AnnotationNominalTime] != nominal {
				continue
			}
			switch o.Status.Phase {
			case v1alpha1.BackupReady:
				ready[o.UID] = true
			case v1alpha1.BackupFailed:
				w.b.Fatalf("VMBackup %s/%s failed: %+v", o.Namespace, o.Name, o.Status.Conditions)
			}
		}
	}
}
