package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
)

// sweeper removes what processes that were killed left behind and nobody else
// comes back for. It looks in the cache, waits a grace time, and reads
// everything live before it removes anything; a listing that failed or is
// empty removes nothing.
type sweeper struct {
	c     *Controller
	since map[string]time.Time // leftover -> when it was first seen
	seen  map[string]bool      // of this sweep
}

// sessionRests is for how many durations the Lease of an ended session stays:
// a process that was frozen so long finds it gone, and is fenced either way.
const sessionRests = 40

// Start sweeps until ctx ends. The manager runs it only while leading.
func (s *sweeper) Start(ctx context.Context) error {
	s.since = map[string]time.Time{}
	tick := time.NewTicker(s.c.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		sctx, cancel := context.WithTimeout(ctx, max(s.c.SweepEvery, time.Minute))
		if err := s.sweep(sctx); err != nil && ctx.Err() == nil {
			s.c.Log.Warn("sweep failed; the next one looks again", "error", err)
		}
		cancel()
	}
}

func (s *sweeper) sweep(ctx context.Context) error {
	s.seen = map[string]bool{}
	var all []error
	for what, step := range map[string]func(context.Context) error{
		"jobs": s.jobs, "volume leases": s.leases, "attachment tickets": s.tickets, "session leases": s.sessions,
	} {
		if err := step(ctx); err != nil {
			all = append(all, fmt.Errorf("sweeping %s: %w", what, err))
		}
	}
	for key := range s.since {
		if !s.seen[key] {
			delete(s.since, key)
		}
	}
	return errors.Join(all...)
}

// ripe tells whether a leftover was seen for the whole grace time.
func (s *sweeper) ripe(key string) bool {
	s.seen[key] = true
	first, known := s.since[key]
	if !known {
		s.since[key] = time.Now()
		return s.c.SweepGrace <= 0
	}
	return time.Since(first) >= s.c.SweepGrace
}

func (c *Controller) removed(kind, name string) {
	c.Recorder.Swept(kind)
	c.Log.Info("removed a leftover", "kind", kind, "name", name)
}

// jobs removes NodeJobs whose owner is gone.
func (s *sweeper) jobs(ctx context.Context) error {
	var list v1alpha1.NodeJobList
	if err := s.c.cache.List(ctx, &list, client.InNamespace(s.c.Namespace)); err != nil {
		return err
	}
	for i := range list.Items {
		j := &list.Items[i]
		if gone, err := s.ownerGone(ctx, s.c.cache, j); err != nil || !gone {
			if err != nil {
				return err
			}
			continue
		}
		if !s.ripe("job/" + string(j.UID)) {
			continue
		}
		if gone, err := s.ownerGone(ctx, s.c.live, j); err != nil || !gone {
			if err != nil {
				return err
			}
			continue
		}
		if err := s.c.client.Delete(ctx, j, client.Preconditions{UID: &j.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("removing job %s: %w", j.Name, err)
		}
		s.c.removed("job", j.Name)
	}
	return nil
}

func (s *sweeper) ownerGone(ctx context.Context, r client.Reader, j *v1alpha1.NodeJob) (bool, error) {
	key := client.ObjectKey{Namespace: j.Spec.Owner.Namespace, Name: j.Spec.Owner.Name}
	if r == s.c.cache && j.Spec.Owner.Kind != "VMRestore" {
		known, exists, err := s.c.points.Get(key)
		return err == nil && (!exists || known.Point().UID != j.Spec.Owner.UID), err
	}
	var o client.Object = &v1alpha1.VMBackup{}
	if j.Spec.Owner.Kind == "VMRestore" {
		o = &v1alpha1.VMRestore{}
	}
	err := r.Get(ctx, key, o)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the owner of job %s: %w", j.Name, err)
	}
	return o.GetUID() != j.Spec.Owner.UID, nil
}

// leases gives back volume leases whose session has ended where no job will
// take them over, and removes those whose volume is gone.
func (s *sweeper) leases(ctx context.Context) error {
	var leases coordinationv1.LeaseList
	if err := s.c.cache.List(ctx, &leases, client.InNamespace(s.c.Namespace), client.MatchingLabels{v1alpha1.LabelLease: lease.KindVolume}); err != nil {
		return err
	}
	exists, err := s.c.cache.Volumes()
	if err != nil {
		return err
	}
	for i := range leases.Items {
		l := &leases.Items[i]
		held := holder(l) != ""
		if held && s.c.sessions.Alive(holder(l)) {
			continue
		}
		var err error
		switch volume := leaseVolume(l); {
		case len(exists) > 0 && !exists[volume]:
			err = s.removeLease(ctx, l, volume)
		case held:
			err = s.giveBack(ctx, l, volume)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func leaseVolume(l *coordinationv1.Lease) string {
	if v := l.Annotations[lease.AnnotationVolume]; v != "" {
		return v
	}
	return strings.TrimPrefix(l.Name, names.VolumeLease(""))
}

// current reads a lease live and tells whether it may be touched: nobody who
// lives holds it, and no unfinished job wants its volume.
func (s *sweeper) current(ctx context.Context, name, volume string) (*coordinationv1.Lease, bool, error) {
	var l coordinationv1.Lease
	err := s.c.live.Get(ctx, client.ObjectKey{Namespace: s.c.Namespace, Name: name}, &l)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading lease %s: %w", name, err)
	}
	if h := holder(&l); h != "" {
		ended, _, err := s.c.sessions.Ended(ctx, s.c.live, s.c.Namespace, h)
		if err != nil || !ended {
			return &l, false, err
		}
	}
	busy, err := s.busy(ctx, s.c.live)
	return &l, err == nil && !busy[volume], err
}

// busy are the volumes that an unfinished job works on, or will.
func (s *sweeper) busy(ctx context.Context, r client.Reader) (map[string]bool, error) {
	var list v1alpha1.NodeJobList
	if err := r.List(ctx, &list, client.InNamespace(s.c.Namespace)); err != nil {
		return nil, fmt.Errorf("listing jobs: %w", err)
	}
	out := map[string]bool{}
	for i := range list.Items {
		if j := &list.Items[i]; !plan.Finished(j) {
			for _, v := range volumesOf(j) {
				out[v] = true
			}
		}
	}
	return out, nil
}

func (s *sweeper) removeLease(ctx context.Context, l *coordinationv1.Lease, volume string) error {
	if !s.ripe("lease/" + l.Name) {
		return nil
	}
	var v longhorn.Volume
	err := s.c.live.Get(ctx, client.ObjectKey{Namespace: s.c.LonghornNamespace, Name: volume}, &v)
	if !apierrors.IsNotFound(err) {
		return err // it exists, or nobody knows
	}
	now, free, err := s.current(ctx, l.Name, volume)
	if err != nil || !free {
		return err
	}
	err = s.c.client.Delete(ctx, now, client.Preconditions{UID: &now.UID, ResourceVersion: &now.ResourceVersion})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing lease %s: %w", l.Name, err)
	}
	s.c.removed("volumeLease", l.Name)
	return nil
}

// giveBack gives back a volume's lease that an ended session has left.
func (s *sweeper) giveBack(ctx context.Context, l *coordinationv1.Lease, volume string) error {
	if !s.ripe("held/" + l.Name + "/" + holder(l)) {
		return nil
	}
	now, free, err := s.current(ctx, l.Name, volume)
	if err != nil || !free || holder(now) != holder(l) {
		return err
	}
	given, err := s.c.giveBack(ctx, now)
	if given {
		s.c.removed("heldLease", l.Name)
	}
	return err
}

// sessions removes the Leases of sessions that ended long ago.
func (s *sweeper) sessions(ctx context.Context) error {
	for _, session := range s.c.sessions.Sessions() {
		if session.Alive || time.Since(session.Silent) < sessionRests*s.c.SessionDuration {
			continue
		}
		ended, _, err := s.c.sessions.Ended(ctx, s.c.live, s.c.Namespace, session.ID)
		if err != nil {
			return err
		}
		if !ended {
			continue
		}
		if err := lease.Remove(ctx, s.c.client, session); apierrors.IsConflict(err) {
			continue
		} else if err != nil {
			return err
		}
		s.c.removed("sessionLease", session.ID)
	}
	return nil
}
