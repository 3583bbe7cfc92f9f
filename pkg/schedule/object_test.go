package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestRefusals(t *testing.T) {
	made := func(name, cron string, change ...func(*v1alpha1.VMSchedule)) v1alpha1.VMSchedule {
		s := v1alpha1.VMSchedule{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(at("2026-01-01T00:00:00Z"))},
			Spec:       v1alpha1.VMScheduleSpec{Cron: cron, TimeZone: "UTC", Retention: v1alpha1.Retention{KeepLast: 8}, MaxFailures: 4},
		}
		for _, c := range change {
			c(&s)
		}
		return s
	}
	override := func(s *v1alpha1.VMSchedule) {
		s.Spec.SpacingOverride = &v1alpha1.SpacingOverride{Reason: "a test"}
	}
	going := func(s *v1alpha1.VMSchedule) { s.DeletionTimestamp = &metav1.Time{Time: time.Now()} }
	for _, c := range []struct {
		name   string
		s      v1alpha1.VMSchedule
		others []v1alpha1.VMSchedule
		says   []string
	}{
		{name: "good", s: made("a", "0 2 * * *"), others: []v1alpha1.VMSchedule{made("b", "0 3 * * *")}},
		{name: "beside itself", s: made("a", "0 2 * * *"), others: []v1alpha1.VMSchedule{made("a", "0 2 * * *")}},
		{name: "beside another", s: made("a", "0 2 * * *"), others: []v1alpha1.VMSchedule{made("b", "5 2 * * *")}, says: []string{"schedule b"}},
		{name: "beside one that goes", s: made("a", "0 2 * * *"), others: []v1alpha1.VMSchedule{made("b", "0 2 * * *", going)}},
		{name: "beside one without a timetable", s: made("a", "0 2 * * *"), others: []v1alpha1.VMSchedule{made("b", "nonsense")}},
		{name: "on record", s: made("a", "@every 1s", override), others: []v1alpha1.VMSchedule{made("b", "@every 1s")}},
		{name: "an anchor away", s: made("a", "@every 6h"), others: []v1alpha1.VMSchedule{made("b", "@every 6h", func(s *v1alpha1.VMSchedule) {
			s.CreationTimestamp = metav1.NewTime(at("2026-03-01T00:30:00Z"))
		})}},
		{
			name: "everything", s: made("a", "60 * * * *", func(s *v1alpha1.VMSchedule) { s.Spec.Retention.KeepLast, s.Spec.MaxFailures = 1, 1 }),
			says: []string{"spec.retention.keepLast", "spec.maxFailures", "spec.cron"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Refusals(&c.s, c.others)
			require.Len(t, got, len(c.says), "%q", got)
			for i := range got {
				require.Contains(t, got[i], c.says[i])
			}
		})
	}
	a, b := made("a", "0 2 * * *"), made("a", "0 2 * * *")
	b.Spec.Suspend, b.Spec.Retention.KeepLast = true, 9
	require.True(t, SameTimes(&a, &b))
	override(&b)
	require.False(t, SameTimes(&a, &b))
}
