package v1alpha1_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestRulesOfSchedules(t *testing.T) {
	c, ns := apiClient(t)
	schedule := func(change func(*v1alpha1.VMScheduleSpec)) *v1alpha1.VMSchedule {
		s := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "s-"}}
		s.Spec = v1alpha1.VMScheduleSpec{Cron: "0 2 * * *", VM: "web", Target: "s3"}
		change(&s.Spec)
		return s
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "db"}}
	for says, change := range map[string]func(*v1alpha1.VMScheduleSpec){
		"exactly one of spec.vm and spec.selector must be":   func(s *v1alpha1.VMScheduleSpec) { s.Selector = selector },
		"exactly one of spec.vm and spec.selector must be s": func(s *v1alpha1.VMScheduleSpec) { s.VM = "" },
		"spec.target is required for type Backup":            func(s *v1alpha1.VMScheduleSpec) { s.Target = "" },
		"spec.target does not belong to type Snapshot":       func(s *v1alpha1.VMScheduleSpec) { s.Type = v1alpha1.TypeSnapshot },
		"spec.deletionPolicy Retain does not belong":         func(s *v1alpha1.VMScheduleSpec) { s.Type, s.Target, s.DeletionPolicy = "Snapshot", "", "Retain" },
		"spec.includeDisks and spec.excludeDisks only go":    func(s *v1alpha1.VMScheduleSpec) { s.VM, s.Selector, s.IncludeDisks = "", selector, []string{"root"} },
		"spec.includeDisks and spec.excludeDisks exclude":    func(s *v1alpha1.VMScheduleSpec) { s.IncludeDisks, s.ExcludeDisks = []string{"a"}, []string{"b"} },
		"spec.maxFailures must be lower than":                func(s *v1alpha1.VMScheduleSpec) { s.MaxFailures, s.Retention.KeepLast = 3, 3 },
		"spec.maxFailures: Invalid value: 1":                 func(s *v1alpha1.VMScheduleSpec) { s.MaxFailures = 1 },
		"spec.retention.keepLast: Invalid value: 1":          func(s *v1alpha1.VMScheduleSpec) { s.Retention.KeepLast = 1 },
		"spec.retention.keepLast: Invalid value: 251":        func(s *v1alpha1.VMScheduleSpec) { s.Retention.KeepLast = 251 },
		"spec.retention.minGood must not be higher than":     func(s *v1alpha1.VMScheduleSpec) { s.Retention.MinGood = 9 },
		"spec.spacingOverride.reason":                        func(s *v1alpha1.VMScheduleSpec) { s.SpacingOverride = &v1alpha1.SpacingOverride{} },
		"spec.resumeAfterTargetReadySeconds does not belong ": func(s *v1alpha1.VMScheduleSpec) {
			s.Type, s.Target, s.ResumeAfterTargetReadySeconds = "Snapshot", "", ptr.To(int32(60))
		},
		"spec.startingDeadlineSeconds: Invalid value: 0": func(s *v1alpha1.VMScheduleSpec) { s.StartingDeadlineSeconds = ptr.To(int64(0)) },
		"spec.jitterSeconds: Invalid value: 3601":        func(s *v1alpha1.VMScheduleSpec) { s.JitterSeconds = 3601 },
		"spec.pointsOnDelete: Unsupported value":         func(s *v1alpha1.VMScheduleSpec) { s.PointsOnDelete = "Maybe" },
	} {
		require.ErrorContains(t, c.Create(t.Context(), schedule(change)), says)
	}
	long := schedule(func(*v1alpha1.VMScheduleSpec) {})
	long.Name = strings.Repeat("s", 64)
	require.ErrorContains(t, c.Create(t.Context(), long), "at most 63 characters")

	s := schedule(func(*v1alpha1.VMScheduleSpec) {})
	require.NoError(t, c.Create(t.Context(), s))
	require.Equal(t, v1alpha1.VMScheduleSpec{
		Cron: "0 2 * * *", TimeZone: "UTC", VM: "web", Type: v1alpha1.TypeBackup, Target: "s3", DeletionPolicy: v1alpha1.DeletionDelete,
		Quiesce:   v1alpha1.Quiesce{Policy: v1alpha1.QuiesceBestEffort, DeadlineSeconds: 10},
		Retention: v1alpha1.Retention{KeepLast: 8, MinGood: 1}, MaxFailures: 4, PointsOnDelete: v1alpha1.PointsRetain,
	}, s.Spec, "the defaults are Harvester's where it has one")
	s.Spec.Cron, s.Spec.TimeZone, s.Spec.Retention.KeepLast, s.Spec.MaxFailures = "0 3 * * *", "Europe/Berlin", 20, 5
	s.Spec.Suspend, s.Spec.Target, s.Spec.JitterSeconds, s.Spec.ExcludeDisks = true, "other", 60, []string{"scratch"}
	require.NoError(t, c.Update(t.Context(), s), "everything but the source may be changed")
	for says, change := range map[string]func(*v1alpha1.VMScheduleSpec){
		"spec.vm is immutable":       func(s *v1alpha1.VMScheduleSpec) { s.VM = "other" },
		"spec.type is immutable":     func(s *v1alpha1.VMScheduleSpec) { s.Type, s.Target = "Snapshot", "" },
		"spec.selector is immutable": func(s *v1alpha1.VMScheduleSpec) { s.VM, s.Selector, s.ExcludeDisks = "", selector, nil },
	} {
		changed := s.DeepCopy()
		change(&changed.Spec)
		require.ErrorContains(t, c.Update(t.Context(), changed), says)
	}

	all := schedule(func(s *v1alpha1.VMScheduleSpec) { s.VM, s.Selector = "", &metav1.LabelSelector{} })
	require.NoError(t, c.Create(t.Context(), all), "an empty selector is every VM")
	all.Spec.Selector = selector
	require.ErrorContains(t, c.Update(t.Context(), all), "spec.selector is immutable")
}
