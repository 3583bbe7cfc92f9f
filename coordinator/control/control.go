// Package control connects the coordinator's pure decisions (plan, runs, assign,
// vmspec) with the API server and the target worker: it gathers what a decision
// looks at, and carries out what it intends.
//
// It decides nothing by itself but pacing: what is cached, what is read live,
// what may be written later. Nothing here outlives the process: a new leader
// finds everything in the API server and on the targets.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/coordinator/refresh"
	"hayloft.dev/coordinator/runs"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/volumes"
	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/lease"
)

// TargetWork does what reads or writes a target, or the document of a point that
// is kept in the cluster. A failure that is a
// *protocol.Error says whether it may pass; any other is taken for one that may.
type TargetWork interface {
	Probe(ctx context.Context, at protocol.Target) (protocol.ProbeResult, error)
	ProbeAndTidy(ctx context.Context, at protocol.Target) (protocol.ProbeResult, error)
	Capture(ctx context.Context, at protocol.Target, r protocol.CaptureRequest) error
	Finalize(ctx context.Context, at protocol.Target, r protocol.FinalizeRequest) (protocol.FinalizeResult, error)
	ReadDocument(ctx context.Context, at protocol.Target, r protocol.ReadDocumentRequest) (*document.Document, error)
	InspectBackups(ctx context.Context, at protocol.Target, namespace string, disks []document.Disk) ([]protocol.Inspection, error)
	InspectBlocks(ctx context.Context, at protocol.Target, namespace string, disks []document.Disk) ([]protocol.Inspection, error)
	MakeSecrets(ctx context.Context, at protocol.Target, r protocol.MakeSecretsRequest) error
	DropAttempt(ctx context.Context, at protocol.Target, volume, backup string) error
	DeletePoint(ctx context.Context, at protocol.Target, r protocol.DeleteRequest) error
	Refresh(ctx context.Context, at protocol.Target, r protocol.RefreshRequest) (protocol.RefreshResult, protocol.Cost, error)
	Leftovers(ctx context.Context, at protocol.Target, r protocol.LeftoversRequest) (protocol.LeftoversResult, protocol.Cost, error)
}

// Tombstones notes points whose data is kept though their VMBackup goes, so that
// they do not come back by themselves. Doing so again changes nothing.
type Tombstones interface {
	Bury(ctx context.Context, t plan.Tombstone) error
}

// Recorder is told of what is counted.
type Recorder interface {
	// JobDone is called once per finished job that this leader saw; kind as in
	// NodeJobSpec, reason empty for success; waited until it was claimed, and took
	// from there.
	JobDone(kind, reason string, waited, took time.Duration)
	// PointDone and RestoreDone are called once per object that became Ready or
	// Failed.
	PointDone(p metrics.Point)
	RestoreDone(r metrics.Restore)
	// Retried counts further attempts at a disk; kind as in NodeJobSpec.
	Retried(kind string)
	// Reassigned counts jobs given to another agent than they had.
	Reassigned()
	// Swept counts leftovers removed, by kind.
	Swept(kind string)
}

// Options are what Setup needs.
type Options struct {
	// Namespace is Hayloft's own; LonghornNamespace that of Longhorn's objects.
	Namespace, LonghornNamespace string
	Plan                         plan.Config
	Runs                         runs.Config
	Targets                      TargetWork
	// Tombstones; nil: they are kept in ConfigMaps of Hayloft's namespace.
	Tombstones Tombstones
	Recorder   Recorder
	Log        *slog.Logger

	// MaxJobsPerNode and ClaimTimeout bound the assignment of jobs.
	MaxJobsPerNode int
	ClaimTimeout   time.Duration
	// SessionDuration is that of the agents' sessions; the sweeper waits many
	// of them before it removes what a session left.
	SessionDuration time.Duration
	// TargetWorkers bounds the target workers that run at once.
	TargetWorkers int
	// ProbeEvery is the time between probes of a target that is Ready, and
	// ProbeFloor how long a good probe counts.
	ProbeEvery, ProbeFloor time.Duration
	// Refresh bounds how often targets are looked through; MaxDocuments is how many
	// documents a target may hold. Refreshes is told what it costs; may be nil.
	Refresh      refresh.Bounds
	MaxDocuments int
	Refreshes    RefreshRecorder
	// LeftoverAge is how old something on a target must be to be removed as a
	// leftover: whoever may still be writing it has ended by then.
	LeftoverAge time.Duration
	// LeftoversEvery is the time between two looks by which leftovers on a target are
	// counted; 0: there are none but those that somebody asks for.
	LeftoversEvery time.Duration
	// GuardEvery is the time between two looks at the refresh intervals of
	// Harvester and Longhorn, which are corrected with HealIntervals. Guard is told
	// of them; may be nil.
	GuardEvery    time.Duration
	HealIntervals bool
	Guard         GuardRecorder
	// SharePods; nil: shares are worked on where they are mounted for the target worker.
	SharePods *SharePods
	// StatusEvery is how long a status that only informs is held back; what
	// passes sooner is never written.
	StatusEvery time.Duration
	// SweepEvery is the time between two sweeps, SweepGrace how long something
	// must be seen left over before it is removed.
	SweepEvery, SweepGrace time.Duration
}

// Defaults fills in what is not set.
func (o Options) Defaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if o.Plan == (plan.Config{}) {
		o.Plan = plan.DefaultConfig()
	}
	if o.Runs == (runs.Config{}) {
		o.Runs = runs.DefaultConfig()
	}
	set(&o.LeftoverAge, 24*time.Hour)
	if o.MaxJobsPerNode == 0 {
		o.MaxJobsPerNode = 8
	}
	if o.TargetWorkers == 0 {
		o.TargetWorkers = 8
	}
	if o.Refresh == (refresh.Bounds{}) {
		o.Refresh = refresh.DefaultBounds()
	}
	if o.MaxDocuments == 0 {
		o.MaxDocuments = 50_000
	}
	if o.Refreshes == nil {
		o.Refreshes = nobodyCounts{}
	}
	if o.Guard == nil {
		o.Guard = nobodyGuards{}
	}
	set(&o.GuardEvery, time.Minute)
	set(&o.ClaimTimeout, 20*time.Second)
	set(&o.SessionDuration, 15*time.Second)
	set(&o.ProbeEvery, 5*time.Minute)
	set(&o.ProbeFloor, time.Minute)
	set(&o.StatusEvery, 2*time.Second)
	set(&o.SweepEvery, 30*time.Second)
	set(&o.SweepGrace, 30*time.Second)
	return o
}

// Controller is the coordinator's work on one manager.
type Controller struct {
	Options
	cache     *volumes.Reader // informers
	live      client.Reader   // the API server
	client    client.Client   // writes
	events    record.EventRecorder
	sessions  *lease.Observer
	pool      *pool
	jobs      *jobStore
	probes    *prober
	missing   *missing
	refreshes *refresher
	graves    *graves
	objects   *Objects
	points    points.Index
	newcomers *newcomers
	rushed    *rushed
	wake      wakers
	tuned     atomic.Pointer[Tuning]
	leading   <-chan struct{}           // closed when this process leads
	since     atomic.Pointer[time.Time] // when it began to
	// shareRefused is why the Pod of a share cannot be made, "" if none was refused.
	shareRefused atomic.Pointer[string]
}

// wakers put objects back into their reconciler's queue.
type wakers struct {
	backups, restores, targets, schedules, shares, assigner waker
}

// Setup adds everything to a manager that was made with ManagerOptions. ctx is
// the one that the manager will run with.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) (*Controller, error) {
	o = o.Defaults()
	if o.Targets == nil || o.Recorder == nil || o.Log == nil {
		return nil, errors.New("control needs target work, a recorder and a logger")
	}
	caches, err := volumes.NewReader(ctx, mgr.GetCache())
	if err != nil {
		return nil, err
	}
	c := &Controller{
		Options: o, cache: caches, live: mgr.GetAPIReader(), client: mgr.GetClient(),
		events:   mgr.GetEventRecorderFor("hayloft-coordinator"),
		sessions: lease.NewObserver(),
		pool:     newPool(ctx, o.TargetWorkers),
		leading:  mgr.Elected(),
	}
	tuning := TuningOf(o)
	c.tuned.Store(&tuning)
	c.jobs = newJobStore(c)
	c.probes = newProber(c)
	c.missing = newMissing()
	c.newcomers = newNewcomers(func(w who) {
		if w.schedule {
			c.wake.schedules.wake(w.key)
		} else {
			c.wake.backups.wake(w.key)
		}
	}, func() {
		c.rushed.over()
		c.wake.assigner.wake(assignKey)
	})
	c.rushed = newRushed(c.live)
	c.refreshes = newRefresher(c)
	c.graves = newGraves(c)
	if c.Tombstones == nil {
		c.Tombstones = c.graves
	}
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, err
	}
	informer, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.VMBackup{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watching VMBackups: %w", err)
	}
	if c.points, err = points.NewIndex(informer); err != nil {
		return nil, err
	}
	if err := c.watchSessions(ctx, mgr); err != nil {
		return nil, err
	}
	if err := c.graves.watch(ctx, mgr); err != nil {
		return nil, err
	}
	for name, add := range map[string]func(ctrl.Manager) error{
		"points": c.addBackups, "restores": c.addRestores, "targets": c.addTargets, "quotas": c.addQuotas, "assignment": c.addAssigner,
		"tickets in the way": c.addObstructions,
		"schedules":          func(mgr ctrl.Manager) error { return c.addSchedules(ctx, mgr) },
	} {
		if err := add(mgr); err != nil {
			return nil, fmt.Errorf("setting up the reconciler of %s: %w", name, err)
		}
	}
	if o.SharePods != nil {
		if err := c.addShares(mgr); err != nil {
			return nil, fmt.Errorf("setting up the reconciler of shares: %w", err)
		}
	}
	if c.objects, err = c.newObjects(ctx, mgr); err != nil {
		return nil, err
	}
	if err := mgr.Add(manager.RunnableFunc(c.noteLead)); err != nil {
		return nil, fmt.Errorf("setting up the note of when this process leads: %w", err)
	}
	if err := mgr.Add(&guardian{c: c, bad: map[types.UID]string{}}); err != nil {
		return nil, fmt.Errorf("setting up the look at refresh intervals: %w", err)
	}
	if err := mgr.Add(&sweeper{c: c}); err != nil {
		return nil, fmt.Errorf("setting up the sweeper: %w", err)
	}
	return c, nil
}

// Objects are what there is to tell to Prometheus.
func (c *Controller) Objects() *Objects { return c.objects }

// noteLead is run when this process begins to lead.
func (c *Controller) noteLead(context.Context) error {
	now := time.Now()
	c.since.Store(&now)
	return nil
}

// Since is when this process began to lead, zero before.
func (c *Controller) Since() time.Time {
	if t := c.since.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// Leading tells whether this process is the leader.
func (c *Controller) Leading() bool {
	select {
	case <-c.leading:
		return true
	default:
		return false
	}
}
