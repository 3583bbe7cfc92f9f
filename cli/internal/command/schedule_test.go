package command_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

func (w *world) schedule(t *testing.T, name string) *v1alpha1.VMSchedule {
	t.Helper()
	s := &v1alpha1.VMSchedule{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, s))
	return s
}

func TestScheduleLife(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, "schedule", "create", "nightly", "--vm", "web", "--cron", "0 2 * * *", "--time-zone", "Europe/Berlin", "--target", "s3",
		"--keep-last", "14", "--keep-monthly", "12", "--max-failures", "3", "--starting-deadline", "6h", "--jitter", "5m",
		"--resume-after-target-ready", "10m", "--exclude", "scratch", "--quiesce", "required", "--override-spacing", "one window for all")
	require.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "vmschedule.hayloft.dev/nightly created\n", r.out)
	s := w.schedule(t, "nightly")
	require.Equal(t, v1alpha1.VMScheduleSpec{
		Cron: "0 2 * * *", TimeZone: "Europe/Berlin", VM: "web", Type: v1alpha1.TypeBackup, Target: "s3", ExcludeDisks: []string{"scratch"},
		Quiesce: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, DeadlineSeconds: 10}, DeletionPolicy: v1alpha1.DeletionDelete,
		Retention: v1alpha1.Retention{KeepLast: 14, KeepMonthly: 12, MinGood: 1}, MaxFailures: 3,
		StartingDeadlineSeconds: ptr.To(int64(6 * 3600)), JitterSeconds: 300, ResumeAfterTargetReadySeconds: ptr.To(int32(600)),
		SpacingOverride: &v1alpha1.SpacingOverride{Reason: "one window for all"}, PointsOnDelete: v1alpha1.PointsRetain,
	}, s.Spec)

	r = w.run(t, "schedule", "set", "nightly", "--cron", "30 3 * * *", "--keep-last", "20", "--override-spacing", "", "--starting-deadline", "0", "--exclude", "", "--quiesce", "never")
	require.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "vmschedule.hayloft.dev/nightly changed\n", r.out)
	was := s.Spec
	s = w.schedule(t, "nightly")
	was.Cron, was.Retention.KeepLast, was.SpacingOverride, was.StartingDeadlineSeconds, was.ExcludeDisks, was.Quiesce.Policy = "30 3 * * *", 20, nil, nil, nil, v1alpha1.QuiesceNever
	require.Equal(t, was, s.Spec, "what is not given stays")
	r = w.run(t, "schedule", "set", "nightly", "--max-failures", "20")
	assert.Equal(t, 2, r.code)
	assert.Contains(t, r.err, "spec.maxFailures must be lower than spec.retention.keepLast")

	r = w.run(t, "schedule", "suspend", "nightly")
	assert.Equal(t, "vmschedule.hayloft.dev/nightly suspended\n", r.out)
	require.True(t, w.schedule(t, "nightly").Spec.Suspend)
	r = w.run(t, "get", "schedules")
	assert.Regexp(t, `nightly +30 3 \* \* \* +web +Backup +s3 +Suspended`, r.out)
	w.run(t, "schedule", "resume", "nightly")
	require.False(t, w.schedule(t, "nightly").Spec.Suspend)
	r = w.run(t, "schedule", "resume", "none")
	assert.Equal(t, "Error: there is no schedule called \"none\"\n", r.err)

	b := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: "web-1", Labels: map[string]string{v1alpha1.LabelSchedule: string(s.UID)},
			Annotations: map[string]string{v1alpha1.AnnotationNominalTime: "2026-11-23T02:00:00Z"},
		},
		Spec: v1alpha1.VMBackupSpec{VM: "web", Target: "s3"},
	}
	require.NoError(t, w.Create(t.Context(), b))
	w.make(t, "by-hand")
	r = w.run(t, "describe", "schedule", "nightly")
	require.Equal(t, 0, r.code, r.err)
	assert.Contains(t, r.out, "2026-11-23T02:00:00Z   web")
	assert.NotContains(t, r.out, "by-hand")

	// Its points are told before it goes.
	r = w.run(t, "delete", "schedule", "nightly", "--points", "delete")
	require.Equal(t, 0, r.code, r.err)
	s = w.schedule(t, "nightly")
	require.Equal(t, v1alpha1.PointsDelete, s.Spec.PointsOnDelete)
	require.Contains(t, s.Finalizers, v1alpha1.FinalizerPoints)
	require.NotNil(t, s.DeletionTimestamp)
}

func TestScheduleOfSnapshots(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, "schedule", "create", "hourly", "-l", "tier in (db,web),!test", "--cron", "@hourly", "--snapshot", "--suspended", "-o", "name")
	require.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "vmschedule.hayloft.dev/hourly\n", r.out)
	s := w.schedule(t, "hourly")
	require.True(t, s.Spec.Suspend)
	require.Equal(t, v1alpha1.TypeSnapshot, s.Spec.Type)
	require.Len(t, s.Spec.Selector.MatchExpressions, 2)
	r = w.run(t, "schedule", "create", "all", "-l", "", "--cron", "@daily", "--snapshot")
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, &metav1.LabelSelector{}, w.schedule(t, "all").Spec.Selector, "all VMs of the namespace")
	r = w.run(t, "schedule", "create", "rehearsed", "--vm", "web", "--cron", "0 2 * * *", "--snapshot", "--dry-run")
	require.Equal(t, 0, r.code, r.err)
	assert.Equal(t, 10, strings.Count(r.out, " 02:00:00 UTC   in "), r.out)
	// No webhook is asked here: the program knows the rules by itself.
	for cron, says := range map[string]string{
		"*/30 * * * *": `spec.cron "*/30 * * * *" runs every 30m, and 1h is the shortest interval`,
		"5 0 * * *":    `spec.cron "5 0 * * *" has the interval of schedule all (24h) and runs only 5m away from it`,
	} {
		args := []string{"schedule", "create", "rehearsed", "--vm", "web", "--cron", cron, "--snapshot", "--dry-run"}
		r = w.run(t, args...)
		assert.Equal(t, 1, r.code)
		assert.Contains(t, r.err, says)
		assert.Empty(t, r.out)
		r = w.run(t, append(args, "--override-spacing", "one window for all")...)
		assert.Equal(t, 0, r.code, r.err)
	}
	r = w.run(t, "get", "schedule", "rehearsed")
	assert.Equal(t, 1, r.code, "it was not made")
	r = w.run(t, "delete", "schedule", "all")
	require.Equal(t, 0, r.code, r.err)
}
