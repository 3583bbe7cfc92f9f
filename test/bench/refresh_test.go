package bench

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/test/harness"
	"hayloft.dev/test/points"
)

// refreshFloor is the coordinators' own.
const refreshFloor = time.Minute

// BenchmarkRefresh: what looking through a target with many points costs, whatever
// interval is set on it: the target worker alone, then a coordinator with its
// workers, which has a VMBackup of each point; beside it a loop that does what
// Harvester v1.4.2 does with an interval of 0, and a poll that lists and inspects
// everything, as Longhorn's do.
func BenchmarkRefresh(b *testing.B) {
	w := newWorld(b)
	m := w.manyPoints(harness.Namespace(b, w.Config))

	cores, requests := w.plainLoop(m)
	b.Logf("a loop that lists and reads everything: %.2f cores, %.0f requests an hour; %s", cores, requests, load())
	b.ReportMetric(cores*1000, "plain-millicores")
	b.ReportMetric(requests, "plain-requests/h")
	cpu, took, polled := w.longhornPoll(m)
	b.Logf("a poll that lists and inspects everything: %s of CPU, %s, %d requests; every 300 s it is %.0f millicores (if it could), %d requests an hour; %s",
		cpu, took, polled, millicores(cpu, 300*time.Second), polled*12, load())
	b.ReportMetric(cpu.Seconds(), "poll-CPU-s")
	b.ReportMetric(float64(polled), "poll-requests")

	w.workerAlone(m)
	w.learn(m)
	for _, interval := range []string{"", "0", "1s", "300s"} {
		w.refreshed(m, interval)
	}
}

// workerAlone measures one look by the worker on which nothing has changed, and one
// by which leftovers are counted.
func (w *world) workerAlone(m *manyPoints) {
	b := w.b
	worker := &targetwork.Caller{
		Path: harness.TestedBinary(b, "targetio"), Kubeconfig: w.Kubeconfigs["targetio"], Namespace: harness.HayloftNamespace,
	}
	request := protocol.RefreshRequest{MaxDocuments: 2 * m.n, MaxRead: m.n, CPUMilliseconds: time.Hour.Milliseconds()}
	look := func() (protocol.RefreshResult, protocol.Cost) {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		defer cancel()
		r, cost, err := worker.Refresh(ctx, protocol.OnTarget(m.target), request)
		check(b, err)
		return r, cost
	}
	for len(request.Known) < m.n { // what is told at once is bounded
		r, _ := look()
		for _, d := range r.Read {
			request.Known = append(request.Known, protocol.Known(d.Path, d.Version))
		}
	}
	var best protocol.Cost
	for i := range 3 {
		before := m.requests.Load()
		r, cost := look()
		if r.Unchanged != m.n {
			b.Fatalf("of %d documents %d are unchanged", m.n, r.Unchanged)
		}
		b.Logf("the worker, nothing changed: %s of CPU, %s, %d requests (%d by its own count); %s", cost.CPU, cost.Wall, m.requests.Load()-before, cost.Requests, load())
		if i == 0 || cost.CPU < best.CPU {
			best = cost
		}
	}
	b.ReportMetric(best.CPU.Seconds(), "unchanged-CPU-s")
	b.ReportMetric(float64(best.Requests), "unchanged-requests")

	leftovers := protocol.LeftoversRequest{Cluster: points.Cluster, Brief: true, MaxTold: 50, CPUMilliseconds: time.Hour.Milliseconds()}
	for i := range m.n {
		leftovers.Living = append(leftovers.Living, points.UID(i))
	}
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	r, cost, err := worker.Leftovers(ctx, protocol.OnTarget(m.target), leftovers)
	check(b, err)
	if r.InProgress+r.NoDocument+r.Drafts > 0 {
		b.Fatalf("there are leftovers: %+v", r)
	}
	b.Logf("the worker, leftovers counted: %s of CPU, %s, %d requests; %s", cost.CPU, cost.Wall, cost.Requests, load())
	b.ReportMetric(cost.CPU.Seconds(), "leftovers-CPU-s")
	b.ReportMetric(float64(cost.Requests), "leftovers-requests")
}

// setRefresh sets what the spec says of refreshing, and forgets what was spent.
func (w *world) setRefresh(m *manyPoints, interval, cpu string) {
	w.b.Helper()
	t := &v1alpha1.BackupTarget{}
	check(w.b, w.c.Get(w.ctx, client.ObjectKeyFromObject(m.target), t))
	limit := resource.MustParse(cpu)
	t.Spec.Refresh = &v1alpha1.TargetRefresh{Interval: interval, MaxCPU: &limit}
	check(w.b, w.c.Update(w.ctx, t))
	check(w.b, w.c.Status().Patch(w.ctx, t, client.RawPatch(types.MergePatchType, []byte(`{"status":{"refresh":null}}`))))
}

// learn has a coordinator make a VMBackup of every point, as fast as it can.
func (w *world) learn(m *manyPoints) {
	w.setRefresh(m, "1s", "1")
	c := w.StartCoordinator(w.b, "coordinator-1", harness.ProgramOptions{Args: []string{"--refresh-floor=1s"}})
	w.targetReady(m.target.Name)
	w.lookedThrough(m, time.Time{})
	c.Kill(w.b)
}

// lookedThrough waits for a refresh that began later and found all of it unchanged.
func (w *world) lookedThrough(m *manyPoints, later time.Time) *v1alpha1.TargetRefreshStatus {
	w.b.Helper()
	t := m.target.DeepCopy()
	await(w, t, "to have all its points known", func() bool {
		s := t.Status.Refresh
		return s != nil && s.Documents != nil && s.Documents.Unchanged == int64(m.n) && s.Documents.Points == int64(m.n) &&
			s.StartedTime.After(later) && !s.LastTime.Before(s.StartedTime)
	})
	return t.Status.Refresh
}

// refreshed measures a coordinator at rest, and over one refresh, with an interval
// set; and says what that is in an hour, in which there are as many refreshes as the
// interval in effect allows.
func (w *world) refreshed(m *manyPoints, interval string) {
	b := w.b
	w.setRefresh(m, interval, "10m")
	p := w.StartCoordinator(b, "coordinator"+interval, harness.ProgramOptions{})
	first := w.lookedThrough(m, time.Time{})
	w.pass(warmUp)
	idleFrom, began := w.usageOf(p.PID()), time.Now()
	w.pass(refreshFloor / 2)
	idleTo, idle := w.usageOf(p.PID()), time.Since(began)
	if first.EffectiveInterval.Duration > refreshFloor { // by itself it would come later than anybody waits
		_, err := ask.Target(w.ctx, w.c, m.target.Name, ask.Refresh(ask.Word(time.Now())))
		check(b, err)
	}
	from, began, before := w.usageOf(p.PID()), time.Now(), m.requests.Load()
	s := w.lookedThrough(m, first.StartedTime.Time)
	w.pass(5 * time.Second) // what follows on it
	to, took, asked := w.usageOf(p.PID()), time.Since(began), m.requests.Load()-before
	at := func(idle, whole time.Duration, over time.Duration) float64 { // millicores
		rest := millicores(idle, over)
		return rest + millicores(max(0, whole-time.Duration(rest*float64(took)/1000)), s.EffectiveInterval.Duration)
	}
	own := at(idleTo.cpu-idleFrom.cpu, to.cpu-from.cpu, idle)
	workers := at(idleTo.children-idleFrom.children, to.children-from.children, idle)
	b.Logf("interval %q: every %s (%s); coordinator %.1f millicores (%.1f at rest), workers %.1f, %.0f MiB; a refresh took %d ms of CPU and %d requests (%d seen): %.0f an hour; %s",
		interval, s.EffectiveInterval.Duration, s.IntervalFrom, own, millicores(idleTo.cpu-idleFrom.cpu, idle), workers, to.rss/mib,
		s.Cost.CPUMilliseconds, s.Cost.Requests, asked, float64(asked)*time.Hour.Seconds()/s.EffectiveInterval.Seconds(), load())
	name := interval
	if name == "" {
		name = "unset"
	}
	b.ReportMetric(own+workers, name+"-millicores")
	b.ReportMetric(float64(asked)*time.Hour.Seconds()/s.EffectiveInterval.Seconds(), name+"-requests/h")
	p.Kill(b)
}
