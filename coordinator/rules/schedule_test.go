package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

func scheduleFacts() ScheduleFacts {
	made := metav1.NewTime(time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC))
	s := &v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Name: "nightly", Namespace: "shop", CreationTimestamp: made},
		Spec: v1alpha1.VMScheduleSpec{
			Cron: "0 2 * * *", TimeZone: "UTC", VM: "web", Type: v1alpha1.TypeBackup, Target: "s3", MaxFailures: 4,
			Retention: v1alpha1.Retention{KeepLast: 8, MinGood: 1},
		},
	}
	other := s.DeepCopy()
	other.Name, other.Spec.VM, other.Spec.Cron = "other", "db", "30 2 * * *"
	return ScheduleFacts{Schedule: s, Others: []v1alpha1.VMSchedule{*other}, Target: target(metav1.ConditionTrue), VMs: []string{"web"}}
}

func target(ready metav1.ConditionStatus) *v1alpha1.BackupTarget {
	t := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "s3"}}
	if ready != "" {
		t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: "Unreachable", Message: "connection refused"}}
	}
	return t
}

func TestSchedule(t *testing.T) {
	for name, c := range map[string]struct {
		change         func(*ScheduleFacts)
		refused, warns string
	}{
		"good":               {change: func(*ScheduleFacts) {}},
		"no cron expression": {change: func(f *ScheduleFacts) { f.Schedule.Spec.Cron = "0 2 * *" }, refused: `spec.cron "0 2 * *"`},
		"no zone":            {change: func(f *ScheduleFacts) { f.Schedule.Spec.TimeZone = "Mars" }, refused: `spec.timeZone "Mars"`},
		"each half hour":     {change: func(f *ScheduleFacts) { f.Schedule.Spec.Cron = "*/30 * * * *" }, refused: `spec.cron "*/30 * * * *"`},
		"too close":          {change: func(f *ScheduleFacts) { f.Schedule.Spec.Cron = "25 2 * * *" }, refused: "schedule other"},
		"too close by an override": {change: func(f *ScheduleFacts) {
			f.Schedule.Spec.Cron, f.Schedule.Spec.SpacingOverride = "25 2 * * *", &v1alpha1.SpacingOverride{Reason: "short window"}
		}},
		"keeps too few":      {change: func(f *ScheduleFacts) { f.Schedule.Spec.Retention.KeepLast = 4 }, refused: "spec.maxFailures 4 must be lower than spec.retention.keepLast, which is 4"},
		"no target":          {change: func(f *ScheduleFacts) { f.Target = nil }, refused: `there is no BackupTarget "s3" (spec.target)`},
		"target down":        {change: func(f *ScheduleFacts) { f.Target = target(metav1.ConditionFalse) }, refused: `BackupTarget "s3" (spec.target) is not Ready (Unreachable: connection refused)`},
		"target going":       {change: func(f *ScheduleFacts) { f.Target.DeletionTimestamp = gone() }, refused: "is being deleted"},
		"target just made":   {change: func(f *ScheduleFacts) { f.Target = target("") }, warns: "BackupTarget s3 was not tried out yet"},
		"no VM":              {change: func(f *ScheduleFacts) { f.VMs = nil }, refused: `there is no VirtualMachine "web" in namespace shop (spec.vm)`},
		"selects nothing":    {change: func(f *ScheduleFacts) { f.VMs, f.Schedule.Spec.Selector = nil, &metav1.LabelSelector{} }, warns: "spec.selector picks no VirtualMachine"},
		"no selector at all": {change: func(f *ScheduleFacts) { f.Schedule.Spec.Selector = badSelector() }, refused: "spec.selector: "},
		"snapshots":          {change: func(f *ScheduleFacts) { f.Schedule.Spec.Type, f.Target = v1alpha1.TypeSnapshot, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			f := scheduleFacts()
			c.change(&f)
			refusals, warnings := Schedule(f)
			if c.refused == "" {
				require.Empty(t, refusals)
			} else {
				require.Len(t, refusals, 1)
				require.Contains(t, refusals[0].Sentence, c.refused)
			}
			if c.warns == "" {
				require.Empty(t, warnings)
			} else {
				require.Len(t, warnings, 1)
				require.Contains(t, warnings[0], c.warns)
			}
		})
	}
}

func badSelector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
}

func TestScheduleChange(t *testing.T) {
	suspend := func(s *v1alpha1.VMSchedule) { s.Spec.Suspend = true }
	for name, c := range map[string]struct {
		before, now func(*v1alpha1.VMSchedule)
		facts       func(*ScheduleFacts)
		refused     string
	}{
		"nothing":                     {},
		"retention":                   {now: func(s *v1alpha1.VMSchedule) { s.Spec.Retention.KeepLast = 20 }},
		"cron":                        {now: func(s *v1alpha1.VMSchedule) { s.Spec.Cron = "31 2 * * *" }, refused: "schedule other"},
		"zone":                        {now: func(s *v1alpha1.VMSchedule) { s.Spec.TimeZone = "Nowhere" }, refused: "spec.timeZone"},
		"no override any more":        {before: func(s *v1alpha1.VMSchedule) { tooClose(s); override(s) }, now: tooClose, refused: "schedule other"},
		"suspend one that is too clo": {before: tooClose, now: func(s *v1alpha1.VMSchedule) { tooClose(s); suspend(s) }},
		"resume":                      {before: suspend},
		"resume, target down":         {before: suspend, facts: func(f *ScheduleFacts) { f.Target = target(metav1.ConditionFalse) }, refused: "spec.suspend: the schedule cannot be resumed while BackupTarget s3 is not Ready (Unreachable: connection refused)"},
		"resume, target not tried":    {before: suspend, facts: func(f *ScheduleFacts) { f.Target = target("") }, refused: "it was not tried out yet"},
		"resume, target gone":         {before: suspend, facts: func(f *ScheduleFacts) { f.Target = nil }, refused: `there is no BackupTarget "s3"`},
		"resume, target going":        {before: suspend, facts: func(f *ScheduleFacts) { f.Target.DeletionTimestamp = gone() }, refused: "is being deleted: name another"},
		"resume, target not for it":   {before: suspend, facts: func(f *ScheduleFacts) { f.Uses = []Refusal{{Reason: TargetReadOnly, Sentence: "it is only read"}} }, refused: "it is only read"},
		"suspend, target down":        {now: suspend, facts: func(f *ScheduleFacts) { f.Target = target(metav1.ConditionFalse) }},
		"another target, down":        {now: func(s *v1alpha1.VMSchedule) { s.Spec.Target = "nfs" }, facts: func(f *ScheduleFacts) { f.Target = target(metav1.ConditionFalse) }, refused: "is not Ready"},
		"resume snapshots": {
			before: func(s *v1alpha1.VMSchedule) { suspend(s); s.Spec.Type = v1alpha1.TypeSnapshot },
			now:    func(s *v1alpha1.VMSchedule) { s.Spec.Type = v1alpha1.TypeSnapshot }, facts: func(f *ScheduleFacts) { f.Target = nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := scheduleFacts()
			before := f.Schedule.DeepCopy()
			if c.before != nil {
				c.before(before)
			}
			if c.now != nil {
				c.now(f.Schedule)
			}
			if c.facts != nil {
				c.facts(&f)
			}
			refusals := ScheduleChange(before, f)
			if c.refused == "" {
				require.Empty(t, refusals)
				return
			}
			require.Len(t, refusals, 1)
			require.Contains(t, refusals[0].Sentence, c.refused)
		})
	}
}

func tooClose(s *v1alpha1.VMSchedule) { s.Spec.Cron = "25 2 * * *" }

func override(s *v1alpha1.VMSchedule) {
	s.Spec.SpacingOverride = &v1alpha1.SpacingOverride{Reason: "short window"}
}

func TestScheduleStays(t *testing.T) {
	by := func(who string, suspend bool) *v1alpha1.VMSchedule {
		s := scheduleFacts().Schedule
		s.Spec.Suspend, s.Annotations = suspend, map[string]string{v1alpha1.AnnotationSuspendedBy: who}
		return s
	}
	upgrade := by(v1alpha1.SuspendedByUpgrade, true)
	going := upgrade.DeepCopy()
	going.DeletionTimestamp = gone()
	for name, c := range map[string]struct {
		before, now *v1alpha1.VMSchedule
		warns       bool
	}{
		"suspended for an upgrade, suspended again": {upgrade, upgrade, true},
		"prepare suspends it":                       {by("", false), upgrade, false},
		"it is resumed":                             {upgrade, by(v1alpha1.SuspendedByUpgrade, false), false},
		"a user takes it over":                      {upgrade, by("", true), false},
		"failures have suspended it":                {by(v1alpha1.SuspendedByCoordinator, true), by(v1alpha1.SuspendedByCoordinator, true), false},
		"it is being deleted":                       {upgrade, going, false},
	} {
		t.Run(name, func(t *testing.T) {
			warnings := ScheduleStays(c.before, c.now)
			if !c.warns {
				require.Empty(t, warnings)
				return
			}
			require.Len(t, warnings, 1)
			require.Contains(t, warnings[0], "hayloft schedule suspend nightly -n shop")
		})
	}
}
