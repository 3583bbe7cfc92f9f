package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestPointsOfAVM: which of its points count for a VM.
func TestPointsOfAVM(t *testing.T) {
	backup, ready := v1alpha1.TypeBackup, v1alpha1.BackupReady
	for name, tt := range map[string]struct {
		change func(w *world)
		want   []string
		absent []string
	}{
		"the newest counts, in whatever order": {
			change: func(w *world) { w.point("web", backup, ready, 2*time.Hour); w.point("web", backup, ready, time.Hour) },
			want: []string{
				`hayloft_vm_last_good_point_timestamp_seconds{namespace="shop",type="Backup",vm="web"} 1.7954352e+09`,
				`hayloft_vm_points{namespace="shop",type="Backup",vm="web"} 2`,
				`hayloft_vm_protection_info{namespace="shop",state="NoSchedule",vm="web"} 1`,
			},
		},
		"a found one was not taken after it was found": {
			change: func(w *world) {
				b := w.point("web", backup, ready, 24*365*time.Hour)
				b.Spec.Found, b.CreationTimestamp = &v1alpha1.FoundPoint{}, metav1.NewTime(epoch.Add(2*time.Hour))
			},
			want: []string{`hayloft_vm_last_good_point_timestamp_seconds{namespace="shop",type="Backup",vm="web"} 1.7954352e+09`},
		},
		"a failed one does not": {
			change: func(w *world) { w.point("web", backup, v1alpha1.BackupFailed, 0) },
			want: []string{
				`hayloft_vm_protection_info{namespace="shop",state="NoPoint",vm="web"} 1`,
				`hayloft_vm_last_failure_timestamp_seconds{namespace="shop",reason="TargetError",type="Backup",vm="web"} 1.79542806e+09`,
			},
			absent: []string{"hayloft_vm_last_good_point_timestamp_seconds", "hayloft_vm_points"},
		},
		"one that was refused before its VM was looked for is told as its failure": {
			change: func(w *world) { w.point("web", backup, v1alpha1.BackupFailed, 0).Status.SourceUID = "" },
			want:   []string{`hayloft_vm_last_failure_timestamp_seconds{namespace="shop",reason="TargetError",type="Backup",vm="web"} 1.79542806e+09`},
		},
		"one that lost its data does not": {
			change: func(w *world) { w.point("web", v1alpha1.TypeSnapshot, v1alpha1.BackupDataLost, 0) },
			want:   []string{`hayloft_vm_protection_info{namespace="shop",state="NoPoint",vm="web"} 1`},
			absent: []string{"hayloft_vm_points"},
		},
		"one that is being deleted does not": {
			change: func(w *world) { w.point("web", backup, ready, 0).DeletionTimestamp = ptr.To(metav1.NewTime(epoch)) },
			want:   []string{`hayloft_vm_protection_info{namespace="shop",state="NoPoint",vm="web"} 1`},
			absent: []string{"hayloft_vm_points"},
		},
		"one of a former VM of that name does not": {
			change: func(w *world) { w.point("web", backup, ready, 0).Status.SourceUID = "another" },
			want: []string{
				`hayloft_vm_protection_info{namespace="shop",state="NoPoint",vm="web"} 1`,
				`hayloft_points_of_gone_vms{namespace="shop",type="Backup"} 1`,
			},
			absent: []string{"hayloft_vm_points"},
		},
		"a VM that is gone is told of by its points only": {
			change: func(w *world) { w.vms = nil; w.point("web", backup, ready, 0) },
			want: []string{
				`hayloft_points{phase="Ready",type="Backup"} 1`,
				`hayloft_points_of_gone_vms{namespace="shop",type="Backup"} 1`,
				`hayloft_target_points{target="s3"} 1`,
			},
			absent: []string{"hayloft_vm_"},
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

// TestScrapesRemember: what is kept from scrape to scrape shows in none of them.
func TestScrapesRemember(t *testing.T) {
	w := someWorld()
	used := coordinator(w, true)
	same := func(what string) {
		t.Helper()
		want := timed.ReplaceAllString(string(exposition(t, coordinator(w, true))), "$1$2 1")
		got := timed.ReplaceAllString(string(exposition(t, used)), "$1$2 1")
		require.Equal(t, want, got, what)
	}
	same("first")
	same("again")
	nightly := w.plans[0].DeepCopy()
	w.plans[0] = nightly
	for _, step := range []struct {
		what   string
		change func()
	}{
		{"points go", func() {
			w.points = slices.DeleteFunc(slices.Clone(w.points), func(b *v1alpha1.VMBackup) bool { return b.Spec.VM == "db" })
		}},
		{"another failure", func() {
			w.point("web", v1alpha1.TypeBackup, v1alpha1.BackupFailed, 9*time.Hour).Status.Conditions[0].Reason = "QuotaExceeded"
		}},
		{"a VM goes", func() { w.vms = slices.Clone(w.vms[1:]) }},
		{"a VM comes", func() { w.vm("aaa", nil); w.point("aaa", v1alpha1.TypeSnapshot, v1alpha1.BackupReady, 0) }},
		{"a VM gets another's name", func() {
			w.vms[len(w.vms)-1] = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "newcomer"}}
		}},
		{"a schedule is suspended", func() { nightly.Spec.Suspend = true }},
		{"a timetable changes", func() { nightly.Spec.Cron = "@hourly" }},
		{"a type changes", func() { nightly.Spec.Type = v1alpha1.TypeSnapshot }},
		{"a timetable is wrong", func() { nightly.Spec.Cron = "now and then" }},
		{"many VMs of a schedule", func() {
			for _, name := range []string{"m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "m10"} {
				w.vm(name, nil)
				of(nightly, w.point(name, v1alpha1.TypeBackup, v1alpha1.BackupReady, 0))
			}
		}},
		{"a schedule comes", func() { w.schedule("aaa", "web", "@daily") }},
		{"a schedule goes", func() { w.plans = slices.Clone(w.plans[:len(w.plans)-1]) }},
		{"a schedule is made anew", func() {
			anew := w.plans[1].DeepCopy()
			anew.UID = "anew"
			w.plans[1] = anew
		}},
		{"all go", func() { w.vms, w.plans, w.points = nil, nil, nil }},
	} {
		step.change()
		same(step.what)
	}
}

// TestPointsAreLookedAtOnce: and not in the first scrape, where that was prepared.
func TestPointsAreLookedAtOnce(t *testing.T) {
	w := someWorld()
	g := coordinator(w, true)
	g.Prepare()
	require.Equal(t, len(w.points), w.looks)
	prepared := timed.ReplaceAllString(string(exposition(t, g)), "$1$2 1")
	require.Equal(t, len(w.points), w.looks)
	require.Equal(t, timed.ReplaceAllString(string(exposition(t, coordinator(w, true))), "$1$2 1"), prepared)

	w.looks = 0
	w.vm("fresh", nil)
	w.point("fresh", v1alpha1.TypeBackup, v1alpha1.BackupReady, 0)
	exposition(t, g)
	require.Equal(t, 1, w.looks, "of those that changed")
}
