package retention

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestPolicyOf(t *testing.T) {
	s := &v1alpha1.VMSchedule{Spec: v1alpha1.VMScheduleSpec{TimeZone: "Asia/Kolkata", Retention: v1alpha1.Retention{
		KeepLast: 8, KeepHourly: 1, KeepDaily: 2, KeepWeekly: 3, KeepMonthly: 4, KeepYearly: 5, MinGood: 6,
	}}}
	p, err := PolicyOf(s)
	require.NoError(t, err)
	require.Equal(t, "Asia/Kolkata", p.Zone.String())
	p.Zone = nil
	require.Equal(t, Policy{KeepLast: 8, KeepHourly: 1, KeepDaily: 2, KeepWeekly: 3, KeepMonthly: 4, KeepYearly: 5, MinGood: 6}, p)
	s.Spec.TimeZone = "Europe/Atlantis"
	_, err = PolicyOf(s)
	require.ErrorContains(t, err, "spec.timeZone")
}

func TestPointOf(t *testing.T) {
	created, nominal := at("2026-06-30 02:03"), at("2026-06-29 22:00")
	b := func(phase v1alpha1.BackupPhase) *v1alpha1.VMBackup {
		return &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{
				Name: "p", CreationTimestamp: metav1.NewTime(created), Labels: map[string]string{v1alpha1.LabelSchedule: "uid"},
				Annotations: map[string]string{v1alpha1.AnnotationNominalTime: nominal.Format(v1alpha1.NominalTimeLayout)},
			},
			Status: v1alpha1.VMBackupStatus{Phase: phase},
		}
	}
	for phase, want := range map[v1alpha1.BackupPhase]State{
		"": Unfinished, v1alpha1.BackupPending: Unfinished, v1alpha1.BackupCutting: Unfinished, v1alpha1.BackupUploading: Unfinished,
		v1alpha1.BackupVerifying: Unfinished, v1alpha1.BackupReady: Good, v1alpha1.BackupFailed: Failed, v1alpha1.BackupDataLost: Failed, v1alpha1.BackupMissing: Missing,
		v1alpha1.BackupDamaged: Damaged,
	} {
		require.Equal(t, Point{Name: "p", Time: nominal, State: want}, PointOf(b(phase), nil, nil), "%q", phase)
	}
	require.True(t, PointOf(b(v1alpha1.BackupDeleting), nil, nil).Deleting)

	runs := []v1alpha1.ScheduleRun{{NominalTime: metav1.NewTime(nominal.Add(-time.Hour))}, {NominalTime: metav1.NewTime(nominal)}}
	require.True(t, PointOf(b(v1alpha1.BackupFailed), runs, nil).OpenRun)
	require.False(t, PointOf(b(v1alpha1.BackupFailed), runs[:1], nil).OpenRun)

	found := b(v1alpha1.BackupReady)
	found.Spec.Found = &v1alpha1.FoundPoint{}
	require.True(t, PointOf(found, nil, nil).Foreign)

	other := b(v1alpha1.BackupReady)
	other.Labels, other.Annotations, other.Spec.Pinned = nil, nil, true
	other.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	require.Equal(t, Point{Name: "p", Time: created, State: Good, Pinned: true, InUse: []string{"shop/r"}, Deleting: true, Foreign: true}, PointOf(other, nil, []string{"shop/r"}))
}
