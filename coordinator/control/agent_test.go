package control_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// The agents' part, at the level of NodeJobs.

// session makes the heartbeat Lease of an agent and beats until stop is called. It
// counts as ended after a silence that no busy machine makes.
func (w *world) session(node string) (id string, stop func()) { return w.mortal(node, 30) }

// mortal is a session that counts as ended after some seconds of silence.
func (w *world) mortal(node string, seconds int32) (id string, stop func()) {
	w.t.Helper()
	id = node + "-0000abcd"
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: names.SessionLease(id), Namespace: w.own,
			Labels: map[string]string{v1alpha1.LabelLease: "session", v1alpha1.LabelNode: node},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &id, LeaseDurationSeconds: &seconds},
	}
	w.create(l)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for beat := 0; ; beat++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			l.Annotations = map[string]string{"beat": fmt.Sprint(beat)}
			_ = w.client.Update(ctx, l)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	w.t.Cleanup(stop)
	return id, stop
}

// report writes a job's status as an agent would.
func (w *world) report(j *v1alpha1.NodeJob, change func(*v1alpha1.NodeJobStatus)) {
	w.t.Helper()
	w.eventually("writing the status of job "+j.Name, func() bool {
		if !w.refresh(j) {
			w.t.Fatalf("job %s is gone", j.Name)
		}
		change(&j.Status)
		return w.client.Status().Update(w.ctx, j) == nil
	})
}

func (w *world) claim(j *v1alpha1.NodeJob, session string) {
	w.t.Helper()
	now := metav1.Now()
	w.report(j, func(s *v1alpha1.NodeJobStatus) { s.State, s.Session, s.ClaimedAt = v1alpha1.JobRunning, session, &now })
}

func (w *world) succeed(j *v1alpha1.NodeJob, change func(*v1alpha1.NodeJobStatus)) {
	w.t.Helper()
	now := metav1.Now()
	w.report(j, func(s *v1alpha1.NodeJobStatus) {
		s.State, s.CompletedAt = v1alpha1.JobSucceeded, &now
		if change != nil {
			change(s)
		}
	})
}

// removes plays the agents that remove a point's engine snapshots, for polls: a job
// may be withdrawn at any moment.
func (w *world) removes(session string) {
	w.t.Helper()
	for _, j := range w.jobs() {
		if j.Spec.RemoveSnapshots != nil {
			w.work(w.ctx, &j, session)
		}
	}
}

func (w *world) failJob(j *v1alpha1.NodeJob, reason, message string, retryable bool) {
	w.t.Helper()
	now := metav1.Now()
	w.report(j, func(s *v1alpha1.NodeJobStatus) {
		s.State, s.CompletedAt, s.Reason, s.Message, s.Retryable = v1alpha1.JobFailed, &now, reason, message, retryable
	})
}

// cut ends the cut job of a point well.
func (w *world) cut(b *v1alpha1.VMBackup, session string) {
	w.t.Helper()
	j := w.awaitJob("cut", b.UID, "", 1)
	w.claim(j, session)
	at := metav1.NowMicro()
	w.succeed(j, func(s *v1alpha1.NodeJobStatus) {
		s.Cut = &v1alpha1.CutStatus{Number: 1, StartedAt: &at, WindowMicroseconds: 1500, Snapshots: map[string]string{}}
		for _, d := range j.Spec.Cut.Disks {
			s.Cut.Snapshots[d.Name] = names.Snapshot(b.UID, 1, d.Name)
		}
	})
}

func (w *world) upload(b *v1alpha1.VMBackup, disk string, attempt int32, session string) {
	w.t.Helper()
	j := w.awaitJob("backup", b.UID, disk, attempt)
	w.claim(j, session)
	w.succeed(j, func(s *v1alpha1.NodeJobStatus) {
		s.Transfer = &v1alpha1.TransferStatus{
			Started: true, Progress: &v1alpha1.Progress{BytesDone: 64 << 20, BytesTotal: 64 << 20},
			SupersededRemoved: len(j.Spec.Backup.Superseded) > 0,
		}
	})
}
