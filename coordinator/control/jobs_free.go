package control

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// free gives back the leases of a job's volumes that its session left behind
// when it ended, before the job goes to another agent. That one could take them
// as well, but begins to watch the session only now: it would see that it has
// ended a whole duration later.
func (s *jobStore) free(ctx context.Context, job *v1alpha1.NodeJob) error {
	session := job.Status.Session
	if session == "" || s.c.sessions.Alive(session) {
		return nil
	}
	for _, volume := range volumesOf(job) {
		var l coordinationv1.Lease
		err := s.c.live.Get(ctx, client.ObjectKey{Namespace: s.c.Namespace, Name: names.VolumeLease(volume)}, &l)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("reading lease %s: %w", names.VolumeLease(volume), err)
		}
		if err != nil || holder(&l) != session {
			continue
		}
		ended, _, err := s.c.sessions.Ended(ctx, s.c.live, s.c.Namespace, session)
		if err != nil || !ended {
			return err
		}
		if _, err := s.c.giveBack(ctx, &l); err != nil {
			return err
		}
	}
	return nil
}

// giveBack empties the holder of a volume's lease, unless that was written since
// it was read; the epoch stays, so it never goes back. The caller has seen that
// the holder has ended.
func (c *Controller) giveBack(ctx context.Context, l *coordinationv1.Lease) (given bool, err error) {
	none := ""
	l.Spec.HolderIdentity = &none
	err = c.client.Update(ctx, l)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("giving back lease %s: %w", l.Name, err)
	}
	return true, nil
}
