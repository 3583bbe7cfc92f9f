// Package worker does the NodeJobs of one node: it takes the leases of a job's
// volumes, claims the job, drives the engine and reports.
//
// It decides nothing about points or attempts, which is the coordinator's part;
// it does one job, says how that ended, and leaves nothing of its own behind.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
)

// Session is what the worker needs of a lease session.
type Session interface {
	ID() string
	Context() context.Context
	AcquireAll(ctx context.Context, volumes []string) (*lease.Held, error)
}

// Engine is what the worker needs of a volume's engine.
type Engine interface {
	Info(ctx context.Context) (engine.Info, error)
	CutSnapshot(ctx context.Context, name string, labels map[string]string) error
	Snapshots(ctx context.Context) (map[string]engine.Snapshot, error)
	RemoveSnapshot(ctx context.Context, name string) error
	Purge(ctx context.Context) error
	StartBackup(ctx context.Context, r engine.BackupRequest) (engine.BackupStarted, error)
	BackupStatus(ctx context.Context, backup string) (*engine.BackupStatus, error)
	DeltaBytes(ctx context.Context, snapshot, base string) (int64, error)
	StartRestore(ctx context.Context, r engine.RestoreRequest) error
	RestoreStatus(ctx context.Context) ([]engine.ReplicaRestore, error)
	SnapshotUsage(ctx context.Context) (engine.SnapshotUsage, error)
	StartClone(ctx context.Context, r engine.CloneRequest) (engine.CloneStarted, error)
	CloneStatus(ctx context.Context) ([]engine.ReplicaClone, error)
	CheckClone(ctx context.Context, source engine.Address, c engine.CloneStarted) ([]engine.ReplicaClone, error)
}

// Observer is told what the worker did, for metrics.
type Observer interface {
	// JobBegun: kind is "cut", "backup", "restore", "clone" or "removeSnapshots".
	// What it returns is called when the job is not worked on any more.
	JobBegun(kind string) (over func())
	// Leased tells how long a job waited for its leases.
	Leased(kind string, waited time.Duration)
	// JobDone: reason is empty for success.
	JobDone(kind, reason string, took time.Duration)
	// TookOver counts jobs that another session had begun.
	TookOver(kind string)
	// Fenced counts attempts that stopped because the job was not ours any more.
	Fenced(kind string)
	// Moved counts bytes that a transfer went on by.
	Moved(kind string, bytes int64)
	// Cut tells of a cut that counts. way is how the guest was brought to rest,
	// and frozen for how long; "" and zero when it was not.
	Cut(consistency, way string, window, frozen time.Duration)
	// Hooked tells how long a VM's hook took; hook is "pre" or "post".
	Hooked(hook string, well bool, took time.Duration)
	// CutDiscarded counts cuts that do not count.
	CutDiscarded()
}

// Worker does jobs. All fields must be set before the first Reconcile.
type Worker struct {
	Jobs     client.Reader // cached: the NodeJobs of Node
	Client   client.Client // uncached
	Attacher *attach.Attacher
	Guests   Guests
	Targets  *Targets
	Open     func(engine.Address) Engine
	Sessions interface {
		// Current waits for a living session.
		Current(ctx context.Context) (Session, error)
	}
	Observer Observer
	Node     string
	Limits   Limits
	Log      *slog.Logger

	mu      sync.Mutex
	tuned   *Limits                                      // in place of Limits
	running map[client.ObjectKey]context.CancelCauseFunc // job -> stops its run
	ended   map[client.ObjectKey]types.UID               // jobs that this process has ended, and that its cache may still show as running
	standby standby
}

// errWithdrawn ends a run whose job was deleted or given to another node.
var errWithdrawn = errors.New("the job was withdrawn from this node")

// Reconcile does one job from beginning to end; controller-runtime's queue
// keeps two runs of one job apart. An error puts the job back into the queue.
func (w *Worker) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var job v1alpha1.NodeJob
	if err := w.Jobs.Get(ctx, req.NamespacedName, &job); apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading job %s: %w", req.Name, err)
	}
	if finished(&job) || w.hasEnded(&job) || job.Spec.NodeName != w.Node || !job.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.enter(req.NamespacedName, cancel)
	defer w.leave(req.NamespacedName)
	defer w.Observer.JobBegun(kind(&job))()

	err := w.run(ctx, &job)
	switch {
	case err == nil, errors.Is(context.Cause(ctx), errWithdrawn):
		return reconcile.Result{}, nil
	case lost(err):
		// Somebody else has it, or nobody yet. Look again rather than fail.
		w.Observer.Fenced(kind(&job))
		w.Log.Info("stopped working on a job", "job", job.Name, "cause", err.Error())
		return reconcile.Result{RequeueAfter: w.limits().RetryFloor}, nil
	}
	return reconcile.Result{}, fmt.Errorf("job %s: %w", job.Name, err)
}

// Tune puts other limits in force, for the jobs that begin from now on.
func (w *Worker) Tune(l Limits) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tuned = &l
}

func (w *Worker) limits() Limits {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tuned != nil {
		return *w.tuned
	}
	return w.Limits
}

// Withdraw stops the run of a job, if there is one, and gives back what is kept
// of a finished one. It is called when the job is deleted or assigned to another
// node.
func (w *Worker) Withdraw(key client.ObjectKey) {
	go w.standby.end(func(k *kept) bool { return k.job == key })
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ended, key)
	if cancel := w.running[key]; cancel != nil {
		cancel(errWithdrawn)
	}
}

// end notes that a job has its final status. The cache learns of that a moment
// later; until then the job must not be begun again, which would take the
// volumes from the jobs that follow.
func (w *Worker) end(job *v1alpha1.NodeJob) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended == nil {
		w.ended = map[client.ObjectKey]types.UID{}
	}
	w.ended[client.ObjectKeyFromObject(job)] = job.UID
}

func (w *Worker) hasEnded(job *v1alpha1.NodeJob) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended[client.ObjectKeyFromObject(job)] == job.UID
}

func (w *Worker) enter(key client.ObjectKey, cancel context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == nil {
		w.running = map[client.ObjectKey]context.CancelCauseFunc{}
	}
	w.running[key] = cancel
}

func (w *Worker) leave(key client.ObjectKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, key)
}

func finished(job *v1alpha1.NodeJob) bool {
	return job.Status.State == v1alpha1.JobSucceeded || job.Status.State == v1alpha1.JobFailed
}

// lost tells errors that mean "not ours any more" from failures of the work.
func lost(err error) bool {
	return errors.Is(err, lease.ErrLost) || errors.Is(err, lease.ErrFenced) || errors.Is(err, lease.ErrClosed) ||
		errors.Is(err, errOutdated) || errors.Is(err, errWithdrawn)
}
