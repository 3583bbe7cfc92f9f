package scale

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// agents play those of some nodes: sessions that beat, and jobs that are claimed
// and done as soon as they are given to a node.
type agents struct {
	w *world

	mu    sync.Mutex
	first map[types.UID]time.Time // owner -> when its first job was seen
	known map[types.UID]bool      // jobs that are taken
	// all is closed when as many owners have a job as are waited for.
	all   chan struct{}
	await int
}

// Of real agents: how long a session lasts, how often it beats.
const (
	agentNodes      = 8
	sessionDuration = 15 * time.Second
	beatEvery       = 5 * time.Second
	jobsAtOnce      = 16
)

// startAgents runs until the benchmark ends.
func (w *world) startAgents() *agents {
	w.b.Helper()
	a := &agents{w: w, first: map[types.UID]time.Time{}, known: map[types.UID]bool{}}
	ctx, cancel := context.WithCancel(w.ctx)
	var running sync.WaitGroup
	w.b.Cleanup(func() { cancel(); running.Wait() })
	for i := range agentNodes {
		node := fmt.Sprintf("node-%d", i)
		l := newSession(node)
		check(w.b, w.c.Create(ctx, l))
		running.Go(func() { a.beat(ctx, l) })
	}
	var list v1alpha1.NodeJobList
	check(w.b, w.c.List(ctx, &list, client.InNamespace(ownNamespace)))
	events, err := w.c.Watch(ctx, &v1alpha1.NodeJobList{}, client.InNamespace(ownNamespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	check(w.b, err)
	running.Go(func() { a.work(ctx, events) })
	return a
}

func session(node string) string { return node + "-0000abcd" }

func newSession(node string) *coordinationv1.Lease {
	id, seconds := session(node), int32(sessionDuration/time.Second)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ownNamespace, Name: names.SessionLease(id),
			Labels: map[string]string{v1alpha1.LabelLease: "session", v1alpha1.LabelNode: node},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &id, LeaseDurationSeconds: &seconds},
	}
}

func (a *agents) beat(ctx context.Context, l *coordinationv1.Lease) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := metav1.NowMicro()
		l.Spec.RenewTime = &now
		if err := a.w.c.Update(ctx, l); err != nil && ctx.Err() == nil {
			a.w.b.Errorf("renewing Lease %s: %v", l.Name, err)
		}
	}
}

// work does every job once.
func (a *agents) work(ctx context.Context, events watch.Interface) {
	defer events.Stop()
	given := make(chan *v1alpha1.NodeJob, 100_000) // so that no event has to wait for a job
	var workers sync.WaitGroup
	defer workers.Wait()
	for range jobsAtOnce {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case job := <-given:
					a.do(ctx, job)
				}
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-events.ResultChan():
			if !open {
				if ctx.Err() == nil {
					a.w.b.Error("the watch of NodeJobs ended")
				}
				return
			}
			if job, ok := e.Object.(*v1alpha1.NodeJob); ok && e.Type != watch.Deleted && a.see(job) {
				given <- job
			}
		}
	}
}

// see notes when jobs appear; true: this one is to be done now.
func (a *agents) see(job *v1alpha1.NodeJob) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.first[job.Spec.Owner.UID]; !known {
		a.first[job.Spec.Owner.UID] = time.Now()
		if len(a.first) == a.await {
			close(a.all)
		}
	}
	if job.Spec.NodeName == "" || job.Status.State != v1alpha1.JobPending || a.known[job.UID] {
		return false
	}
	a.known[job.UID] = true
	return true
}

// have is closed when so many owners have a job.
func (a *agents) have(n int) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.await, a.all = n, make(chan struct{})
	return a.all
}

// do claims a job and ends it well, in two writes as an agent would.
func (a *agents) do(ctx context.Context, job *v1alpha1.NodeJob) {
	now := metav1.Now()
	s := &job.Status
	s.State, s.Session, s.ClaimedAt = v1alpha1.JobRunning, session(job.Spec.NodeName), &now
	if !a.report(ctx, job) {
		return
	}
	s.State, s.CompletedAt = v1alpha1.JobSucceeded, &now
	switch {
	case job.Spec.Cut != nil:
		at := metav1.NowMicro()
		s.Cut = &v1alpha1.CutStatus{Number: 1, StartedAt: &at, WindowMicroseconds: 1500, Consistency: v1alpha1.ConsistencyOffline, Snapshots: map[string]string{}}
		for _, d := range job.Spec.Cut.Disks {
			s.Cut.Snapshots[d.Name] = names.Snapshot(job.Spec.Owner.UID, 1, d.Name)
		}
	case job.Spec.Backup != nil:
		s.Transfer = &v1alpha1.TransferStatus{
			Started: true, Progress: &v1alpha1.Progress{BytesDone: 64 * mib, BytesTotal: 64 * mib}, SupersededRemoved: len(job.Spec.Backup.Superseded) > 0,
		}
	}
	a.report(ctx, job)
}

func (a *agents) report(ctx context.Context, job *v1alpha1.NodeJob) bool {
	err := a.w.c.Status().Update(ctx, job)
	if client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
		a.w.b.Errorf("writing the status of job %s: %v", job.Name, err)
	}
	return err == nil
}

// since is how long after a moment the first job of each owner was seen.
func (a *agents) since(at time.Time) []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []time.Duration
	for _, seen := range a.first {
		out = append(out, seen.Sub(at))
	}
	return out
}
