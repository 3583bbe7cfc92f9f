package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestSchedules: what is told of schedules, and which VMs they protect.
func TestSchedules(t *testing.T) {
	backup, ready := v1alpha1.TypeBackup, v1alpha1.BackupReady
	const (
		lastGood  = "hayloft_schedule_last_good_point_timestamp_seconds"
		since     = "hayloft_schedule_since_timestamp_seconds"
		protected = `hayloft_vm_protection_info{namespace="shop",state="Protected",vm="web"} 1`
		none      = `hayloft_vm_protection_info{namespace="shop",state="NoSchedule",vm="web"} 1`
	)
	for name, tt := range map[string]struct {
		change func(w *world)
		want   []string
		absent []string
	}{
		"the one that names a VM protects it": {
			change: func(w *world) {
				s := w.schedule("nightly", "web", "0 2 * * *")
				of(s, w.point("web", backup, ready, 2*time.Hour))
				of(s, w.point("web", backup, ready, time.Hour))
			},
			want: []string{
				lastGood + `{namespace="shop",schedule="nightly",type="Backup",vm="web"} 1.7954352e+09`,
				`hayloft_schedule_status_info{namespace="shop",schedule="nightly",state="Active",type="Backup"} 1`,
				`hayloft_schedule_interval_seconds{namespace="shop",schedule="nightly"} 86400`,
				protected,
			},
			absent: []string{since, "hayloft_schedule_consecutive_failures"},
		},
		"points of others do not count for it": {
			change: func(w *world) {
				w.schedule("nightly", "web", "0 2 * * 1-5")
				w.point("web", backup, ready, 0)
				of(&v1alpha1.VMSchedule{}, w.point("web", backup, ready, 0))
			},
			want: []string{
				since + `{namespace="shop",schedule="nightly"} 1.7953416e+09`,
				`hayloft_schedule_interval_seconds{namespace="shop",schedule="nightly"} 259200`,
				protected,
			},
			absent: []string{lastGood},
		},
		"a selector's protects the VMs that it has taken points of": {
			change: func(w *world) { of(w.schedule("all", "", "@hourly"), w.point("web", backup, ready, 0)) },
			want:   []string{protected, `hayloft_schedule_interval_seconds{namespace="shop",schedule="all"} 3600`},
		},
		"one that is suspended protects nothing": {
			change: func(w *world) {
				s := w.schedule("nightly", "web", "0 2 * * *")
				s.Spec.Suspend = true
				of(s, w.point("web", backup, ready, 0))
			},
			want: []string{none, `hayloft_schedule_status_info{namespace="shop",schedule="nightly",state="SuspendedUser",type="Backup"} 1`},
		},
		"one that is gone tells nothing": {
			change: func(w *world) {
				s := w.schedule("nightly", "web", "0 2 * * *")
				of(s, w.point("web", backup, ready, 0))
				w.plans = nil
			},
			want:   []string{none},
			absent: []string{"hayloft_schedule_"},
		},
		"nor does one tell of a VM that is gone": {
			change: func(w *world) {
				of(w.schedule("nightly", "web", "0 2 * * *"), w.point("web", backup, ready, 0))
				w.vms = nil
			},
			want:   []string{since + `{namespace="shop",schedule="nightly"} 1.7953416e+09`},
			absent: []string{lastGood, "hayloft_vm_"},
		},
		"a selector's may have taken points of many": {
			change: func(w *world) {
				all := w.schedule("all", "", "@hourly")
				for i := range 20 {
					name := fmt.Sprintf("vm-%02d", i)
					w.vm(name, nil)
					of(all, w.point(name, backup, ready, 0))
					of(all, w.point(name, backup, ready, 2*time.Hour))
					of(all, w.point(name, backup, ready, time.Hour))
				}
			},
			want: []string{
				lastGood + `{namespace="shop",schedule="all",type="Backup",vm="vm-03"} 1.7954352e+09`,
				lastGood + `{namespace="shop",schedule="all",type="Backup",vm="vm-19"} 1.7954352e+09`,
				`hayloft_vm_protection_info{namespace="shop",state="Protected",vm="vm-19"} 1`,
			},
		},
		"an edited timetable counts from when it was edited": {
			change: func(w *world) {
				s := w.schedule("nightly", "web", "@every 6h")
				s.Status.Timetable = &v1alpha1.Timetable{}
				s.Status.Timetable.Since.Time = epoch
			},
			want: []string{since + `{namespace="shop",schedule="nightly"} 1.795428e+09`, `hayloft_schedule_interval_seconds{namespace="shop",schedule="nightly"} 21600`},
		},
		"an expression that cannot be read has no interval": {
			change: func(w *world) { w.schedule("nightly", "web", "sometimes") },
			absent: []string{"hayloft_schedule_interval_seconds"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			w.vm("web", nil)
			tt.change(w)
			text := string(exposition(t, coordinator(w, true)))
			for _, line := range tt.want {
				require.Contains(t, text, line+"\n")
			}
			for _, prefix := range tt.absent {
				for _, line := range strings.Split(text, "\n") {
					require.False(t, strings.HasPrefix(line, prefix), line)
				}
			}
		})
	}
}

// TestPausesAreForgotten: timetables that come and go do not pile up.
func TestPausesAreForgotten(t *testing.T) {
	s := schedules{now: func() time.Time { return epoch }}
	w := &world{}
	plan := w.schedule("a", "web", "0 2 * * *")
	for i := range 60 {
		changed := plan.DeepCopy()
		changed.Spec.Cron = fmt.Sprintf("%d 2 * * *", i)
		s.begin([]*v1alpha1.VMSchedule{changed})
		require.Equal(t, 24*time.Hour, s.all[0].pause)
		require.LessOrEqual(t, len(s.longest), 2+fewVMs+1)
	}
}
