package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// backups carries out the plans of VMBackups.
type backups struct {
	*Controller
	fresh *freshest[*v1alpha1.VMBackup]
	pace  *pacer
	known *known
	// captures is what was read of each VM whose point begins.
	captures *memory[*protocol.CaptureSource]
	// untold is what happened to points and waits for others that are new to be told.
	untold *memory[[]plan.Event]
	// begun is how points begin of which the first job is made and no status is
	// written, see backup_ahead.go.
	begun *memory[*v1alpha1.VMBackupStatus]
	doors *doors
	// verifying is whose turn it is.
	verifying verifying

	clusterMu sync.Mutex
	cluster   types.UID // empty until it was read
}

// Reconcile brings one VMBackup a step further.
func (r *backups) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	known, exists, err := r.points.Get(req.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !exists {
		if former := r.known.see(req.NamespacedName, ""); former != "" {
			r.forget(former)
		}
		r.newcomers.forget(who{key: req.NamespacedName})
		return reconcile.Result{}, nil
	}
	me := pointComer(known.Point())
	// One that waits for its target, say, was looked at and is as late as the others.
	if !plan.Undecided(known.Point()) || r.begun.get(known.Point().UID) != nil {
		if wait := r.newcomers.turn(me); wait > 0 {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
	}
	defer r.newcomers.seen(me.who)
	if former := r.known.see(req.NamespacedName, known.Point().UID); former != "" {
		r.forget(former)
	}
	after, err := r.step(ctx, known)
	switch {
	case errors.Is(err, errGone):
		return reconcile.Result{}, nil
	case apierrors.IsConflict(err):
		r.Log.Debug("VMBackup changed meanwhile; looking again", "vmbackup", req.String())
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("VMBackup %s: %w", req, err)
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// step does what is to be done for a point now, and tells when to look again. Of
// one at rest that is nearly always nothing, which can be told from what is known
// of it; for anything else it is read whole.
func (r *backups) step(ctx context.Context, known points.Known) (time.Duration, error) {
	if own := r.fresh.latest(known.Point()); own != known.Point() {
		return r.advance(ctx, points.Answered(own))
	}
	b, whole := known.Whole()
	if !whole {
		after, rests, err := r.rests(ctx, known.Point())
		if rests || err != nil {
			return after, err
		}
		if b, whole, err = points.Read(ctx, r.live, client.ObjectKeyFromObject(known.Point())); err != nil {
			return 0, err
		}
		if !whole || b.Point().UID != known.Point().UID {
			return 0, errGone
		}
	}
	return r.advance(ctx, b)
}

// advance does the next step of a point, and of its verification.
func (r *backups) advance(ctx context.Context, whole points.Whole) (time.Duration, error) {
	look, wrote, err := r.verify(ctx, whole)
	if wrote || err != nil {
		return look, err
	}
	after, err := r.proceed(ctx, whole)
	return sooner(after, look), err
}

func (r *backups) proceed(ctx context.Context, whole points.Whole) (time.Duration, error) {
	b := whole.Point()
	switch {
	case b.Spec.Found == nil || claims(b) && hasFinalizer(b, v1alpha1.FinalizerData) && !b.DeletionTimestamp.IsZero():
	case claims(b) && b.DeletionTimestamp.IsZero():
		return 0, r.claimed(ctx, whole)
	default:
		return 0, nil // it is what its target says, see found.go
	}
	now, ahead := plan.Begun(b, r.begun.get(b.UID))
	var quotas []v1alpha1.SnapshotQuota
	if plan.Undecided(now) {
		var err error
		if quotas, err = r.quotas(ctx, b.Namespace); err != nil {
			return 0, err
		}
		if len(quotas) > 0 {
			defer r.doors.enter(b.Namespace)()
		}
	}
	view, err := r.view(ctx, now, quotas)
	if err != nil {
		return 0, err
	}
	in := plan.Backup(view)
	switch {
	case ahead:
		in.Cosmetic = false // it tells more than it would if the beginning were written
	case len(quotas) == 0:
		if done, after, err := r.ahead(ctx, b, in); done || err != nil {
			return after, err
		}
	}
	return r.act(ctx, whole, view, in)
}

// rests tells whether there is nothing to do for a point at rest but to look again
// after some time.
func (r *backups) rests(ctx context.Context, b *v1alpha1.VMBackup) (after time.Duration, rests bool, err error) {
	if points.Kept(b) && r.stays(ctx, b) {
		return lookSpread(r.Plan.LookEvery, b.UID), true, nil
	}
	v, err := r.view(ctx, b, nil)
	if err != nil {
		return 0, false, err
	}
	in := plan.Backup(v)
	after, in.After = in.After, 0
	return after, equality.Semantic.DeepEqual(in, plan.BackupIntent{Status: b.Status}), nil
}

// errGone: the object was let go a moment ago, and the cache did not show it yet.
var errGone = errors.New("the object is gone")

// conflictPause lets the cache catch up after somebody else wrote.
const conflictPause = 50 * time.Millisecond

func (r *backups) forget(uid types.UID) {
	r.pool.forget(uid)
	r.fresh.forget(uid)
	r.pace.forget(uid)
	r.captures.forget(uid)
	r.untold.forget(uid)
	r.begun.forget(uid)
	r.missing.forget(uid)
	r.verifying.give(uid)
}

// view gathers what the decision looks at; what it costs depends on the phase.
func (r *backups) view(ctx context.Context, b *v1alpha1.VMBackup, quotas []v1alpha1.SnapshotQuota) (plan.BackupView, error) {
	jobs, err := r.jobs.of(ctx, b.UID)
	if err != nil {
		return plan.BackupView{}, err
	}
	v := plan.BackupView{
		Now: time.Now(), Backup: b, Jobs: jobs, Waits: r.jobs.waitsOf(ctx, jobs), Work: r.pool.states(b.UID), Config: r.Plan,
	}
	if b.Spec.Type != v1alpha1.TypeSnapshot {
		if v.Target, err = r.target(ctx, b.Spec.Target); err != nil {
			return v, err
		}
	}
	deleting := !b.DeletionTimestamp.IsZero()
	if plan.Undecided(b) && v.Target != nil {
		if _, v.Uses, err = r.targetUse(ctx, b.Spec.Target, b.Namespace); err != nil {
			return v, err
		}
	}
	if v.Target != nil {
		v.Probe = r.probes.known(v.Target)
	}
	if plan.Undecided(b) {
		if v.Source, err = r.capturedSource(ctx, b); err != nil {
			return v, err
		}
		if v.Source != nil && len(quotas) > 0 {
			if v.Space, err = r.space(ctx, b, quotas, v.Source, r.fresh.latest); err != nil {
				return v, err
			}
		}
	}
	if b.Status.Phase == v1alpha1.BackupCutting || b.Status.Phase == v1alpha1.BackupUploading {
		if v.Elsewhere, err = r.elsewhere(b, v.Target); err != nil {
			return v, err
		}
	}
	if f, ok := value[plan.Finalized](r.pool, b.UID, plan.OpFinalize); ok {
		v.Finalized = &f
		if v.Moved, err = r.moved(b); err != nil {
			return v, err
		}
	}
	if deleting {
		if v.GoesWith, err = r.goesWith(ctx, b.Namespace, pointsDefinition); err != nil {
			return v, err
		}
		// With their own kind gone there are no restores.
		if v.Readers, err = r.readers(ctx, b); err != nil && !(v.GoesWith != "" && apierrors.IsNotFound(err)) {
			return v, err
		}
	}
	if !deleting && b.Spec.Type != v1alpha1.TypeSnapshot {
		if v.Newer, v.Earlier, err = r.chain(b); err != nil {
			return v, err
		}
	}
	if points.Kept(b) {
		if v.Kept, err = r.look(ctx, b); err != nil {
			return v, err
		}
	}
	v.Gone, err = r.gone(ctx, b)
	return v, err
}

// target is nil when there is none of that name, or no name; one that the cache
// does not show yet is asked for.
func (c *Controller) target(ctx context.Context, name string) (*v1alpha1.BackupTarget, error) {
	if name == "" {
		return nil, nil
	}
	var t v1alpha1.BackupTarget
	err := c.cache.Get(ctx, client.ObjectKey{Name: name}, &t)
	if apierrors.IsNotFound(err) {
		err = c.live.Get(ctx, client.ObjectKey{Name: name}, &t)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading BackupTarget %s: %w", name, err)
	}
	return &t, nil
}

// readers are the unfinished VMRestores of a point, in any namespace, read live:
// it is about to be deleted.
func (c *Controller) readers(ctx context.Context, b *v1alpha1.VMBackup) ([]string, error) {
	var list v1alpha1.VMRestoreList
	if err := c.live.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing the VMRestores that may read it: %w", err)
	}
	return status.Readers(b, list.Items), nil
}

// gone are the volumes of a point that do not exist any more; asked only where
// engine snapshots are still to be removed.
func (r *backups) gone(ctx context.Context, b *v1alpha1.VMBackup) (map[string]bool, error) {
	out := map[string]bool{}
	for _, d := range b.Status.Disks {
		var v longhorn.Volume
		err := r.cache.Get(ctx, client.ObjectKey{Namespace: r.LonghornNamespace, Name: d.Volume}, &v)
		if apierrors.IsNotFound(err) {
			out[d.Volume] = true
		} else if err != nil {
			return nil, fmt.Errorf("reading Longhorn volume %s: %w", d.Volume, err)
		}
	}
	return out, nil
}

// act carries out an intent: what keeps the object first, then what is
// recorded, then what is done.
func (r *backups) act(ctx context.Context, whole points.Whole, v plan.BackupView, in plan.BackupIntent) (time.Duration, error) {
	b := whole.Point()
	after := in.After
	if in.AddFinalizer {
		before := b.ResourceVersion
		changed, err := r.finalizer(ctx, b, v1alpha1.FinalizerData, true, in.Labels)
		if err != nil {
			return 0, err
		}
		if changed {
			r.fresh.wrote(b.DeepCopy(), before)
		}
	}
	wrote, later, err := r.write(ctx, whole, in)
	if err != nil {
		return 0, err
	}
	after = sooner(after, later)
	owner := v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: b.Namespace, Name: b.Name, UID: b.UID}
	if err := r.followUp(ctx, owner, v1alpha1.LabelPoint, v.Jobs, in.Actions); err != nil {
		if v.GoesWith == "" {
			return 0, err
		}
		// The kind of jobs may be on its way out as well; the plan waits for none
		// of them for long.
		r.Log.Warn("could not clean up after a point", "vmbackup", b.Namespace+"/"+b.Name, "goes with", v.GoesWith, "error", err)
	}
	aside := r.newcomers.aside(pointComer(b))
	for _, o := range in.Start {
		if o.Op == plan.OpCapture && aside > 0 {
			// What is captured was read when the point was looked at first.
			after = sooner(after, aside)
			continue
		}
		r.start(b.DeepCopy(), v.Target, o)
	}
	if in.Probe && v.Target != nil {
		key := client.ObjectKeyFromObject(b)
		r.probes.request(v.Target, func() { r.wake.backups.wake(key) })
	}
	if wrote || in.Delete || in.DropFinalizer && hasFinalizer(b, v1alpha1.FinalizerData) {
		r.untold.put(b.UID, append(r.untold.get(b.UID), in.Events...))
		if v.GoesWith != "" { // a namespace that is being deleted takes no events
			for _, e := range in.Events {
				r.Log.Info(e.Message, "vmbackup", b.Namespace+"/"+b.Name, "goes with", v.GoesWith)
			}
		}
	}
	if untold := r.untold.get(b.UID); len(untold) > 0 {
		if aside > 0 && in.Status.Phase == v1alpha1.BackupCutting {
			after = sooner(after, aside)
		} else {
			r.tell(b, untold)
			r.untold.forget(b.UID)
		}
	}
	if in.Delete {
		err := r.client.Delete(ctx, b, client.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion})
		return 0, client.IgnoreNotFound(err)
	}
	if wrote && in.Status.Phase == v1alpha1.BackupReady && v.Backup.Status.Phase != v1alpha1.BackupReady {
		r.pool.forget(b.UID)
		r.captures.forget(b.UID)
	}
	if in.Tombstone != nil && r.Tombstones != nil {
		if err := r.Tombstones.Bury(ctx, *in.Tombstone); err != nil {
			return 0, fmt.Errorf("noting that its data is kept: %w", err)
		}
	}
	if in.DropFinalizer {
		before := b.ResourceVersion
		changed, err := r.finalizer(ctx, b, v1alpha1.FinalizerData, false, nil)
		if err != nil {
			return 0, err
		}
		if changed {
			r.fresh.wrote(b.DeepCopy(), before)
			r.pool.forget(b.UID)
			r.captures.forget(b.UID)
		}
		return 0, nil
	}
	return after, nil
}

// sooner is the shorter one of two times to wait, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func hasFinalizer(o client.Object, name string) bool {
	for _, f := range o.GetFinalizers() {
		if f == name {
			return true
		}
	}
	return false
}

// write writes the status if it changed, or says in how long it may.
func (r *backups) write(ctx context.Context, whole points.Whole, in plan.BackupIntent) (wrote bool, later time.Duration, err error) {
	b := whole.Point()
	if equality.Semantic.DeepEqual(b.Status, in.Status) {
		return false, 0, nil
	}
	if in.Cosmetic {
		if wait := r.pace.due(b.UID, r.tuning().StatusEvery); wait > 0 {
			return false, wait, nil
		}
	}
	before := b.ResourceVersion
	former := b.Status
	b.Status = in.Status
	if err := r.client.Status().Update(ctx, b); err != nil {
		b.Status = former
		if apierrors.IsNotFound(err) {
			err = errGone
		}
		return false, 0, fmt.Errorf("writing its status: %w", err)
	}
	r.fresh.wrote(b.DeepCopy(), before)
	r.begun.forget(b.UID)
	r.pace.forget(b.UID)
	r.countPoint(former, b)
	return true, 0, nil
}
