package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/attach"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
)

// cleanupTime bounds what is still done after a run has ended: dropping our
// ticket and releasing leases.
const cleanupTime = 20 * time.Second

// run is one agent's work on one job.
type run struct {
	*Worker
	Limits  Limits // those that were in force when it began
	job     *v1alpha1.NodeJob
	session Session
	held    *lease.Held
	report  *reporter
	result  func(*v1alpha1.NodeJobStatus) // what the work found, for the final status
	again   bool                          // this run had begun the work already and was interrupted
	resumed bool                          // somebody, perhaps this session, had claimed the job before: look before acting
	seen    int64                         // bytes of the transfer that were counted
	former  *kept                         // what a cut left of this job's volume; nil: nothing

	saying  sync.Mutex // held while volumes that are waited for at the same time report that
	mu      sync.Mutex
	tickets []attach.Ticket
	sites   map[string]attach.Location // volume -> where its engine was found
}

func (w *Worker) run(ctx context.Context, job *v1alpha1.NodeJob) error {
	began := time.Now()
	session, err := w.Sessions.Current(ctx)
	if err != nil {
		return fmt.Errorf("waiting for a session: %w", err)
	}
	// Everything below steers only while the session lives.
	ctx, stop := whileLiving(ctx, session)
	defer stop()

	asked := time.Now()
	held, former, err := w.acquire(ctx, session, job)
	if err != nil {
		return causeOf(ctx, fmt.Errorf("taking the leases: %w", err))
	}
	w.Observer.Leased(kind(job), time.Since(asked))
	defer func() {
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		if err := held.Release(cctx); err != nil {
			w.Log.Warn("could not release leases; they end with the session", "job", job.Name, "error", err)
		}
	}()

	r := &run{Worker: w, Limits: w.limits(), job: job, session: session, held: held, former: former, result: func(*v1alpha1.NodeJobStatus) {}}
	if former != nil {
		r.keep(former.ticket)
	}
	r.report = newReporter(w.Client, job, r.Limits.Report)
	r.seen = bytesDone(job.Status.Transfer) // what a former owner saw, it has counted
	if err := r.claim(ctx); err != nil {
		if former != nil {
			r.dropTickets(ctx) // no transfer needs it, and nobody else knows of it
		}
		return causeOf(ctx, err)
	}

	wctx, cancel := context.WithTimeoutCause(ctx, time.Duration(job.Spec.DeadlineSeconds)*time.Second, errDeadline)
	defer cancel()
	err = r.work(wctx)
	if ctx.Err() != nil || lost(err) {
		// The engine goes on without us. Our ticket stays, so that it can: the
		// next owner replaces it, or the coordinator's sweeper removes it.
		return causeOf(ctx, err)
	}
	reason := ""
	if err != nil {
		f := r.verdict(wctx, err)
		reason = f.reason
		w.Log.Info("job failed", "job", job.Name, "reason", f.reason, "error", f.Error())
		err = r.report.finish(ctx, func(s *v1alpha1.NodeJobStatus) {
			s.State, s.Reason, s.Message, s.Retryable = v1alpha1.JobFailed, f.reason, shorten(oneLine(f.Error())), f.retryable
		})
	} else {
		if job.Spec.Cut != nil {
			// Before the backups can come, which they do as soon as this is written.
			defer r.keepForBackups()()
		}
		err = r.report.finish(ctx, func(s *v1alpha1.NodeJobStatus) {
			s.State, s.Reason, s.Message = v1alpha1.JobSucceeded, "", ""
			r.result(s)
		})
	}
	if err != nil {
		go w.standby.end(func(k *kept) bool { return k.job == client.ObjectKeyFromObject(job) })
		return causeOf(ctx, err)
	}
	w.end(job)
	if reason == "" {
		r.leaveTickets()
	}
	r.dropTickets(ctx)
	w.Observer.JobDone(kind(job), reason, time.Since(began))
	return nil
}

// acquire takes the leases of a job's volumes, or, for a backup, what the cut
// before it has left.
func (w *Worker) acquire(ctx context.Context, s Session, job *v1alpha1.NodeJob) (*lease.Held, *kept, error) {
	if job.Spec.Backup != nil {
		if k := w.standby.take(job.Spec.Backup.Volume, s.ID()); k != nil {
			return k.held, k, nil
		}
	}
	wanted := volumes(&job.Spec)
	w.standby.end(func(k *kept) bool { return slices.Contains(wanted, k.volume) })
	held, err := s.AcquireAll(ctx, wanted)
	return held, nil, err
}

// keepForBackups leaves leases, tickets and locations of a cut's volumes for
// the backups that follow. Only of those whose engine runs on this node: the
// backups of others go to the agents there, which must not wait for us. What is
// not kept goes back when the returned function is called.
func (r *run) keepForBackups() (giveRestBack func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tickets := map[string]attach.Ticket{}
	for _, t := range r.tickets {
		tickets[t.Volume] = t
	}
	r.tickets = nil
	var rest []*kept
	for volume, held := range r.held.Split() {
		k := &kept{
			volume: volume, job: client.ObjectKeyFromObject(r.job), session: r.session.ID(),
			held: held, ticket: tickets[volume], at: r.sites[volume], giveUp: r.giveBack,
		}
		if k.at.Node != r.Node || !r.standby.put(k, r.Limits.Linger) {
			rest = append(rest, k)
		}
	}
	return func() {
		var all sync.WaitGroup
		for _, k := range rest {
			all.Go(func() { r.giveBack(k) })
		}
		all.Wait()
	}
}

// claim makes the job ours in its status. For a job that nobody had, the claim
// already says what the work is about to use up: the first cut's number, or
// that the attempt's name may be in use.
func (r *run) claim(ctx context.Context) error {
	former := ""
	err := r.report.write(ctx, func(s *v1alpha1.NodeJobStatus) {
		former = s.Session
		s.State = v1alpha1.JobRunning
		s.Session = r.session.ID()
		s.Epochs = r.held.Epochs()
		s.Message = ""
		if former != "" {
			return
		}
		s.ClaimedAt = now()
		if r.job.Spec.Cut != nil {
			s.Cut = &v1alpha1.CutStatus{Number: 1}
		}
		if r.job.Spec.Backup != nil {
			s.Transfer = &v1alpha1.TransferStatus{Started: true}
		}
	})
	if err != nil {
		return err
	}
	r.resumed = former != ""
	if r.resumed && former != r.session.ID() {
		r.Observer.TookOver(kind(r.job))
	}
	return nil
}

func (r *run) work(ctx context.Context) error {
	switch {
	case r.job.Spec.Cut != nil:
		return r.undisturbed(ctx, func(ctx context.Context) error { return r.cut(ctx, r.job.Spec.Cut) })
	case r.job.Spec.Backup != nil:
		return r.backup(ctx, r.job.Spec.Backup)
	case r.job.Spec.Restore != nil:
		return r.restore(ctx, r.job.Spec.Restore)
	case r.job.Spec.Clone != nil:
		return r.clone(ctx, r.job.Spec.Clone)
	case r.job.Spec.RemoveSnapshots != nil:
		return r.undisturbed(ctx, func(ctx context.Context) error { return r.removeSnapshots(ctx, r.job.Spec.RemoveSnapshots) })
	}
	return failed(v1alpha1.ReasonInvalidJob, false, "the job holds no work that this agent knows: is the agent older than the coordinator?")
}

// ticket is the id under which this run attaches a volume.
func (r *run) ticket(volume string) string {
	return names.Ticket(r.session.ID(), r.held.Epochs()[volume])
}

// keep remembers a ticket until the job has ended.
func (r *run) keep(t attach.Ticket) {
	if t.ID == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tickets = append(r.tickets, t)
}

// leaveTickets keeps the volumes that this run had attached so for a moment,
// since jobs of one VM follow on each other, on whichever node.
func (r *run) leaveTickets() {
	if r.job.Spec.Clone != nil || !interruptible(r.job) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tickets {
		r.Attacher.Leave(t, r.Limits.Linger)
	}
	r.tickets = nil
}

// dropTickets gives up the volumes that this run had attached.
func (r *run) dropTickets(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tickets {
		if err := r.Attacher.Release(ctx, t); err != nil {
			r.Log.Warn("could not remove our attachment ticket; the coordinator's sweeper will", "volume", t.Volume, "ticket", t.ID, "error", err)
		}
	}
	r.tickets = nil
}

func volumes(spec *v1alpha1.NodeJobSpec) []string {
	switch {
	case spec.Cut != nil:
		vs := make([]string, 0, len(spec.Cut.Disks))
		for _, d := range spec.Cut.Disks {
			vs = append(vs, d.Volume)
		}
		return vs
	case spec.Backup != nil:
		return []string{spec.Backup.Volume}
	case spec.Restore != nil:
		return []string{spec.Restore.Volume}
	case spec.Clone != nil:
		return []string{spec.Clone.SourceVolume, spec.Clone.Volume}
	case spec.RemoveSnapshots != nil:
		return []string{spec.RemoveSnapshots.Volume}
	}
	return nil
}

func kind(job *v1alpha1.NodeJob) string {
	switch {
	case job.Spec.Cut != nil:
		return "cut"
	case job.Spec.Backup != nil:
		return "backup"
	case job.Spec.Restore != nil:
		return "restore"
	case job.Spec.Clone != nil:
		return "clone"
	case job.Spec.RemoveSnapshots != nil:
		return "removeSnapshots"
	}
	return "unknown"
}

// whileLiving is ctx that also ends, with the session's cause, when the
// session does.
func whileLiving(ctx context.Context, s Session) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.Context(), func() { cancel(context.Cause(s.Context())) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// causeOf prefers the cause for which ctx ended over what a call made of it.
func causeOf(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
