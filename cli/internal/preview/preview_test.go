package preview_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/fixture"
	"hayloft.dev/cli/internal/preview"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/retention"
)

func nightly() *v1alpha1.VMSchedule {
	return &v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Name: "nightly", CreationTimestamp: metav1.NewTime(fixture.Now())},
		Spec: v1alpha1.VMScheduleSpec{
			Cron: "30 2 * * *", TimeZone: "Europe/Berlin", MaxFailures: 2,
			Retention: v1alpha1.Retention{KeepLast: 3, KeepWeekly: 2, MinGood: 1},
		},
	}
}

func TestSchedule(t *testing.T) {
	suspended := nightly()
	suspended.Spec.Suspend, suspended.Spec.Cron = true, "@every 36h"
	for name, c := range map[string]struct {
		s    *v1alpha1.VMSchedule
		held []retention.Point
	}{
		"new":       {s: nightly()},
		"with":      {s: nightly(), held: []retention.Point{{Name: "web-old", Time: fixture.Now().Add(-24 * time.Hour), State: retention.Good, Pinned: true}}},
		"suspended": {s: suspended},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, preview.Schedule(&out, fixture.Now(), c.s, c.held))
			fixture.Golden(t, out.Bytes())
		})
	}
	s := nightly()
	s.Spec.Cron = "nightly"
	require.ErrorContains(t, preview.Schedule(&bytes.Buffer{}, fixture.Now(), s, nil), "spec.cron")
}

func TestRetention(t *testing.T) {
	points := []retention.Point{
		{Name: "web-3", Time: fixture.Now().Add(-1 * time.Hour), State: retention.Good},
		{Name: "web-2", Time: fixture.Now().Add(-25 * time.Hour), State: retention.Failed},
		{Name: "web-1", Time: fixture.Now().Add(-49 * time.Hour), State: retention.Good, InUse: []string{"copy"}},
		{Name: "web-0", Time: fixture.Now().Add(-73 * time.Hour), State: retention.Good, Deleting: true},
	}
	var out bytes.Buffer
	require.NoError(t, preview.Retention(&out, []preview.VM{
		{Name: "web", Verdicts: retention.Plan(retention.Policy{KeepLast: 1}, points)},
		{Name: "db", Verdicts: retention.Plan(retention.Policy{KeepLast: 1}, points[:1])},
	}, time.UTC))
	fixture.Golden(t, out.Bytes())
}
