package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
)

// schedules carries out what is decided for VMSchedules.
type schedules struct {
	*Controller
	fresh  *freshest[*v1alpha1.VMSchedule]
	known  *known
	timers *timers
	// made are points that were made and are not recorded yet, and owed the runs of
	// one point of which nothing is.
	made *memory[[]*v1alpha1.VMBackup]
	owed *memory[*owed]
}

// Reconcile brings one VMSchedule up to date.
func (r *schedules) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	me := scheduleComer(req.NamespacedName)
	defer r.newcomers.seen(me.who)
	var cached v1alpha1.VMSchedule
	err := r.cache.Get(ctx, req.NamespacedName, &cached)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading VMSchedule %s: %w", req, err)
	}
	if former := r.known.see(req.NamespacedName, cached.UID); former != "" {
		r.forget(former)
	}
	if err != nil {
		r.newcomers.forget(me.who)
		return reconcile.Result{}, nil
	}
	s := r.fresh.latest(&cached)
	known := r.recorded(s)
	if r.mayWait(known) {
		if wait := r.newcomers.turn(me); wait > 0 {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
	}
	in, err := r.decide(ctx, known)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("VMSchedule %s: %w", req, err)
	}
	err = r.act(ctx, s, in)
	if errors.Is(err, errGone) {
		return reconcile.Result{}, nil
	}
	if apierrors.IsConflict(err) {
		r.Log.Debug("VMSchedule changed meanwhile; looking again", "vmschedule", req.String())
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("VMSchedule %s: %w", req, err)
	}
	after := in.After
	if len(r.made.get(s.UID)) > 0 || r.owed.get(s.UID) != nil {
		after = sooner(after, asideMost)
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// recorded is a schedule with the runs and points that were made of it, recorded or
// not.
func (r *schedules) recorded(s *v1alpha1.VMSchedule) *v1alpha1.VMSchedule {
	if o := r.owed.get(s.UID); o != nil && o.before == s.ResourceVersion {
		s = s.DeepCopy()
		o.status.DeepCopyInto(&s.Status)
	}
	made := r.made.get(s.UID)
	if len(made) == 0 {
		return s
	}
	s = s.DeepCopy()
	runs.Made(&s.Status, made, nil)
	return s
}

// mayWait: nobody has changed the schedule, its timer has not come, and all points of
// its runs are made. What is left is to tell how they went, and which are to go.
func (r *schedules) mayWait(s *v1alpha1.VMSchedule) bool {
	return s.DeletionTimestamp.IsZero() && s.Generation == s.Status.ObservedGeneration && r.timers.has(s.UID) &&
		s.Status.NextTime != nil && s.Status.NextTime.After(time.Now()) &&
		!slices.ContainsFunc(s.Status.Runs, func(run v1alpha1.ScheduleRun) bool { return len(run.Pending) > 0 })
}

func (r *schedules) forget(uid types.UID) {
	r.made.forget(uid)
	r.owed.forget(uid)
	r.fresh.forget(uid)
	r.timers.forget(uid)
}

// decide plans with what is cached, and again with what the plan says it needs.
func (r *schedules) decide(ctx context.Context, s *v1alpha1.VMSchedule) (runs.Intent, error) {
	v := runs.View{Now: time.Now(), Schedule: s, Config: r.Runs}
	var err error
	if v.Points, err = r.pointsOf(ctx, r.cache, s); err != nil {
		return runs.Intent{}, err
	}
	v.Points = r.owed.get(s.UID).and(v.Points)
	if v.Readers, err = r.readersOf(ctx, r.cache, v.Points); err != nil {
		return runs.Intent{}, err
	}
	if s.Spec.Suspend && s.Spec.ResumeAfterTargetReadySeconds != nil {
		if v.Target, err = r.target(ctx, s.Spec.Target); err != nil {
			return runs.Intent{}, err
		}
	}
	for range 4 { // there are three things to ask for
		in := runs.Plan(v)
		if in.Need == (runs.Need{}) {
			return in, nil
		}
		if err := r.supply(ctx, s, &v, in.Need); err != nil {
			return runs.Intent{}, err
		}
	}
	return runs.Intent{}, errors.New("the plan asks for what it has")
}

func (r *schedules) supply(ctx context.Context, s *v1alpha1.VMSchedule, v *runs.View, need runs.Need) (err error) {
	if need.Check {
		if v.Checked, err = r.checkSchedule(ctx, s); err != nil {
			return err
		}
	}
	if need.VMs {
		if v.VMs, err = r.vmsOf(ctx, s); err != nil {
			return err
		}
	}
	if need.Live {
		if !s.DeletionTimestamp.IsZero() {
			if v.GoesWith, err = r.goesWith(ctx, s.Namespace, schedulesDefinition); err != nil {
				return err
			}
		}
		if v.Points, err = r.pointsOf(ctx, r.live, s); err != nil {
			return err
		}
		if v.Readers, err = r.readersOf(ctx, r.live, v.Points); err != nil {
			return err
		}
		v.Live = true
	}
	return nil
}

// act carries out an intent in the order that it asks for.
func (r *schedules) act(ctx context.Context, s *v1alpha1.VMSchedule, in runs.Intent) error {
	if done, err := r.owe(ctx, s, in); done || err != nil {
		return err
	}
	if in.AddFinalizer {
		if err := r.keep(ctx, s, true); err != nil {
			return err
		}
	}
	recorded, err := r.write(ctx, s, in.Status)
	if err != nil {
		return err
	}
	r.tell(s, in.Events)
	if err := r.mark(ctx, s, in); err != nil {
		return err
	}
	if err := r.make(ctx, s, in.Create, recorded); err != nil {
		return err
	}
	if err := r.remove(ctx, s, in.Remove); err != nil {
		return err
	}
	if in.Timetable != nil {
		if err := r.timers.set(s.UID, client.ObjectKeyFromObject(s), *in.Timetable); err != nil {
			return err
		}
	} else {
		r.timers.forget(s.UID)
	}
	if in.DropFinalizer {
		return r.keep(ctx, s, false)
	}
	return nil
}

func (r *schedules) keep(ctx context.Context, s *v1alpha1.VMSchedule, want bool) error {
	before := s.ResourceVersion
	changed, err := r.finalizer(ctx, s, v1alpha1.FinalizerPoints, want, nil)
	if changed {
		r.fresh.wrote(s.DeepCopy(), before)
	}
	return err
}

// write records a status under the resource version that was looked at: of two
// coordinators that plan the same run one alone comes through. It returns when it
// was asked for, zero when there was nothing to write.
func (r *schedules) write(ctx context.Context, s *v1alpha1.VMSchedule, st v1alpha1.VMScheduleStatus) (time.Time, error) {
	if equality.Semantic.DeepEqual(s.Status, st) {
		r.made.forget(s.UID)
		r.owed.forget(s.UID)
		return time.Time{}, nil
	}
	before, asked := s.ResourceVersion, time.Now()
	s.Status = st
	if err := r.client.Status().Update(ctx, s); apierrors.IsNotFound(err) {
		return asked, errGone
	} else if err != nil {
		return asked, fmt.Errorf("writing its status: %w", err)
	}
	r.fresh.wrote(s.DeepCopy(), before)
	r.made.forget(s.UID)
	r.owed.forget(s.UID)
	return asked, nil
}

// mark suspends and resumes in one write with the note who did it and why.
func (r *schedules) mark(ctx context.Context, s *v1alpha1.VMSchedule, in runs.Intent) error {
	if in.Suspend == "" && !in.Resume && !in.Unmark {
		return nil
	}
	before := s.DeepCopy()
	notes := map[string]string{}
	for k, v := range s.Annotations {
		// Who resumes a schedule does so in an upgrade as well.
		old := k == v1alpha1.AnnotationSuspendedBy || k == v1alpha1.AnnotationSuspendReason || k == v1alpha1.AnnotationHeld && in.Suspend == ""
		if !old {
			notes[k] = v
		}
	}
	if in.Suspend != "" {
		s.Spec.Suspend = true
		notes[v1alpha1.AnnotationSuspendedBy], notes[v1alpha1.AnnotationSuspendReason] = v1alpha1.SuspendedByCoordinator, in.Suspend
	}
	if in.Resume {
		s.Spec.Suspend = false
	}
	s.Annotations = notes
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, s, patch); apierrors.IsNotFound(err) {
		return errGone
	} else if err != nil {
		return fmt.Errorf("suspending or resuming it: %w", err)
	}
	r.fresh.wrote(s.DeepCopy(), before.ResourceVersion)
	return nil
}

const (
	// makeDeadline bounds the creation of one point, so that none comes long after
	// its leader has stopped to be one.
	makeDeadline = 10 * time.Second
	// recordAge is for how long the API server's word is taken that a run stands
	// as it is known here. A leader that was stopped in between, for long enough
	// that another has ended the run and retention has removed its points, would
	// make them a second time.
	recordAge = time.Second
)

// make creates points and records which there are, a little later when other points
// come at once. Where the record is lost they are met by their names when they are made
// again. recorded is when the API server
// was last told of, or asked for, their runs.
func (r *schedules) make(ctx context.Context, s *v1alpha1.VMSchedule, points []*v1alpha1.VMBackup, recorded time.Time) error {
	if len(points) == 0 {
		return nil
	}
	var made []*v1alpha1.VMBackup
	refused := map[*v1alpha1.VMBackup]string{}
	var failed error
	for _, b := range points {
		if age(recorded) > recordAge {
			recorded = time.Now()
			if failed = r.unchanged(ctx, s); failed != nil {
				break
			}
		}
		err := r.createPoint(ctx, b)
		switch {
		case err == nil, apierrors.IsAlreadyExists(err):
			made = append(made, b)
		case final(err):
			refused[b] = fmt.Sprintf("VMBackup %s was not accepted: %v", b.Name, err)
		default:
			failed = fmt.Errorf("creating VMBackup %s: %w", b.Name, err)
		}
		if failed != nil {
			break
		}
	}
	if len(made)+len(refused) == 0 {
		return failed
	}
	if failed == nil && len(refused) == 0 && r.newcomers.aside(scheduleComer(client.ObjectKeyFromObject(s))) > 0 {
		r.made.put(s.UID, made)
		return nil
	}
	st := s.Status.DeepCopy()
	runs.Made(st, made, refused)
	if _, err := r.write(ctx, s, *st); err != nil {
		return errors.Join(failed, err)
	}
	return failed
}

// age of a moment by whichever clock shows more: the monotonic one stands still
// while a machine sleeps.
func age(at time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// unchanged asks the API server whether a schedule is still as it is known here.
func (r *schedules) unchanged(ctx context.Context, s *v1alpha1.VMSchedule) error {
	now, err := r.readSchedule(ctx, s)
	switch {
	case err != nil:
		return err
	case now == nil || now.GetUID() != s.UID:
		return errGone
	case now.GetResourceVersion() != s.ResourceVersion:
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("vmschedules").GroupResource(), s.Name, errors.New("it was changed since it was read"))
	}
	return nil
}

func (r *schedules) createPoint(ctx context.Context, b *v1alpha1.VMBackup) error {
	ctx, cancel := context.WithTimeout(ctx, makeDeadline)
	defer cancel()
	return r.client.Create(ctx, b)
}

// final tells an answer of the API server that would be the same again.
func final(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)
}

// remove deletes points as they were seen by a live listing: one that was pinned
// or read since then has another resource version and stays. A conflict is told
// when all others are done, so that what changed is judged again: a schedule that
// ends must leave none behind.
func (r *schedules) remove(ctx context.Context, s *v1alpha1.VMSchedule, points []runs.Removal) error {
	var changed error
	for _, gone := range points {
		b := gone.Point
		err := r.client.Delete(ctx, b, client.Preconditions{UID: &b.UID, ResourceVersion: &b.ResourceVersion})
		switch {
		case apierrors.IsNotFound(err):
			continue
		case apierrors.IsConflict(err):
			changed = err
			continue
		case err != nil:
			return fmt.Errorf("removing VMBackup %s: %w", b.Name, err)
		}
		r.Log.Info("a point was removed", "vmschedule", s.Namespace+"/"+s.Name, "vmbackup", b.Name, "why", gone.Why)
		r.events.Eventf(s, "Normal", "PointRemoved", "VMBackup %s was removed: %s", b.Name, shorten(gone.Why))
	}
	return changed
}
