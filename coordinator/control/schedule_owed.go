package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
)

// In a rush the point of a run is made before the run is recorded: a point is late with
// each request that others make first. Whoever leads after a leader that has not come to
// record it finds the point, and records the run by it (runs.RecordsLater).

// owed is what is to be recorded of a schedule.
type owed struct {
	before string // the schedule's resource version
	status v1alpha1.VMScheduleStatus
	point  v1alpha1.VMBackup
}

// and are points of a cache, which may lack that of the run that is owed.
func (o *owed) and(points []v1alpha1.VMBackup) []v1alpha1.VMBackup {
	if o == nil || slices.ContainsFunc(points, func(b v1alpha1.VMBackup) bool { return b.Name == o.point.Name }) {
		return points
	}
	return append(points, o.point)
}

// owe makes the point of a run that is recorded later, in a rush, on the API server's
// word that the schedule is as it is known here. false: it is to be recorded first.
func (r *schedules) owe(ctx context.Context, s *v1alpha1.VMSchedule, in runs.Intent) (done bool, err error) {
	if r.newcomers.rush() == 0 || len(r.made.get(s.UID)) > 0 || r.owed.get(s.UID) != nil || !runs.RecordsLater(s, in) {
		return false, nil
	}
	if err := r.unchanged(ctx, s); err != nil {
		return false, err
	}
	b := in.Create[0]
	switch err := r.createPoint(ctx, b); {
	case final(err):
		return false, nil
	case err != nil && !apierrors.IsAlreadyExists(err):
		return false, fmt.Errorf("creating VMBackup %s: %w", b.Name, err)
	}
	runs.Made(&in.Status, in.Create, nil)
	r.owed.put(s.UID, &owed{before: s.ResourceVersion, status: in.Status, point: *b})
	// It is woken when the rush is over.
	r.newcomers.aside(scheduleComer(client.ObjectKeyFromObject(s)))
	return true, r.timers.set(s.UID, client.ObjectKeyFromObject(s), *in.Timetable)
}

// readSchedule reads a schedule live, or its metadata; nil: there is none.
func (r *schedules) readSchedule(ctx context.Context, s *v1alpha1.VMSchedule) (client.Object, error) {
	if coming := r.newcomers.coming(s.Namespace); coming > 0 {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("VMScheduleList"))
		o, err := r.rushed.get(ctx, list, client.ObjectKeyFromObject(s), listPays(coming, r.objects.countSchedules(s.Namespace)))
		if !errors.Is(err, errNotListed) {
			return o, err
		}
	}
	now := &v1alpha1.VMSchedule{}
	if ok, err := getFrom(ctx, r.live, s.Namespace, s.Name, now); err != nil || !ok {
		return nil, err
	}
	return now, nil
}
