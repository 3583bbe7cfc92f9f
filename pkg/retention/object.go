package retention

import (
	"slices"
	"time"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// PolicyOf is the policy of a VMSchedule.
func PolicyOf(s *v1alpha1.VMSchedule) (Policy, error) {
	zone, err := schedule.Zone(s.Spec.TimeZone)
	if err != nil {
		return Policy{}, err
	}
	r := s.Spec.Retention
	return Policy{
		KeepLast: int(r.KeepLast), KeepHourly: int(r.KeepHourly), KeepDaily: int(r.KeepDaily), KeepWeekly: int(r.KeepWeekly),
		KeepMonthly: int(r.KeepMonthly), KeepYearly: int(r.KeepYearly), MinGood: int(r.MinGood), Zone: zone,
	}, nil
}

// PointOf is a VMBackup as Plan sees it. open are the runs of its schedule that
// have not ended, inUse the restores that read it.
func PointOf(b *v1alpha1.VMBackup, open []v1alpha1.ScheduleRun, inUse []string) Point {
	p := Point{
		Name: b.Name, Time: b.CreationTimestamp.Time, State: Unfinished, Pinned: b.Spec.Pinned, InUse: inUse,
		Deleting: !b.DeletionTimestamp.IsZero(), Foreign: b.Labels[v1alpha1.LabelSchedule] == "" || b.Spec.Found != nil,
	}
	if nominal, err := time.Parse(v1alpha1.NominalTimeLayout, b.Annotations[v1alpha1.AnnotationNominalTime]); err == nil {
		p.Time = nominal
		p.OpenRun = slices.ContainsFunc(open, func(r v1alpha1.ScheduleRun) bool { return r.NominalTime.Unix() == nominal.Unix() })
	}
	switch b.Status.Phase {
	case v1alpha1.BackupReady:
		p.State = Good
	case v1alpha1.BackupFailed, v1alpha1.BackupDataLost:
		p.State = Failed
	case v1alpha1.BackupMissing:
		p.State = Missing
	case v1alpha1.BackupDamaged:
		p.State = Damaged
	case v1alpha1.BackupDeleting:
		p.Deleting = true
	}
	return p
}
