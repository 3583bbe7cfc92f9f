package schedule

import (
	"hayloft.dev/pkg/api/v1alpha1"
)

// Of is the timetable of a VMSchedule. "@every" counts from its creation.
func Of(s *v1alpha1.VMSchedule) (Timetable, error) {
	return Parse(s.Spec.Cron, s.Spec.TimeZone, s.CreationTimestamp.Time)
}

// EntryOf is a VMSchedule as the rules on spacing see it.
func EntryOf(s *v1alpha1.VMSchedule) (Entry, error) {
	t, err := Of(s)
	return Entry{Name: s.Name, Timetable: t, Override: s.Spec.SpacingOverride != nil}, err
}

// Refusals are the reasons against a VMSchedule, each a sentence, beside others,
// of which it may be one itself. One of the others that has no timetable is in
// nobody's way.
//
// They are meant for a schedule that is new or whose times are changed (see
// SameTimes): no rule shall keep anybody from suspending an old one.
func Refusals(s *v1alpha1.VMSchedule, others []v1alpha1.VMSchedule) []string {
	out := Bounds(s.Spec.Retention.KeepLast, s.Spec.MaxFailures)
	entry, err := EntryOf(s)
	if err != nil {
		return append(out, err.Error())
	}
	var beside []Entry
	for i := range others {
		o := &others[i]
		if o.Namespace == s.Namespace && o.Name == s.Name || !o.DeletionTimestamp.IsZero() {
			continue
		}
		if e, err := EntryOf(o); err == nil {
			beside = append(beside, e)
		}
	}
	return append(out, Spacing(entry, beside)...)
}

// SameTimes tells whether two states of a VMSchedule run at the same times and
// under the same rules on spacing.
func SameTimes(a, b *v1alpha1.VMSchedule) bool {
	return a.Spec.Cron == b.Spec.Cron && a.Spec.TimeZone == b.Spec.TimeZone &&
		(a.Spec.SpacingOverride == nil) == (b.Spec.SpacingOverride == nil)
}
