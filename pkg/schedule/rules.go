package schedule

import (
	"fmt"
	"strings"
	"time"

	"hayloft.dev/pkg/words"
)

// The limits are Harvester's. It judges both by the runs that follow on the
// moment at which it is asked; here they are judged over the whole calendar.
const (
	// MinInterval is the shortest time between two runs of a schedule.
	MinInterval = time.Hour
	// MinOffset is the shortest time between the runs of two schedules whose
	// intervals are the same.
	MinOffset = 10 * time.Minute

	MinKeepLast = 2
	MaxKeepLast = 250
	// MinMaxFailures lets one run fail without consequences.
	MinMaxFailures = 2
)

// Entry is a schedule as the rules on spacing see it.
type Entry struct {
	// Name is how sentences call it.
	Name      string
	Timetable Timetable
	// Override lifts the rules on spacing for this schedule, not those of others
	// against it.
	Override bool
}

// Spacing are the reasons against the times of e, each a sentence, beside the
// other schedules that it must keep a distance from.
func Spacing(e Entry, others []Entry) []string {
	if e.Override {
		return nil
	}
	var out []string
	interval := e.Timetable.Interval()
	if interval < MinInterval {
		out = append(out, fmt.Sprintf("spec.cron %q runs every %s, and %s is the shortest interval: write one that is wider, or give the reason in spec.spacingOverride",
			e.Timetable, human(interval), human(MinInterval)))
	}
	for _, o := range others {
		if o.Timetable.Interval() != interval {
			continue
		}
		if a, b, close := e.Timetable.meets(o.Timetable); close {
			out = append(out, fmt.Sprintf("spec.cron %q has the interval of schedule %s (%s) and runs only %s away from it, as on %s and %s: keep %s between them, or give the reason in spec.spacingOverride",
				e.Timetable, o.Name, human(interval), human(a.Sub(b).Abs()), said(a), said(b), human(MinOffset)))
		}
	}
	return out
}

// Bounds are the reasons against a schedule's numbers, each a sentence:
// spec.retention.keepLast and spec.maxFailures.
func Bounds(keepLast, maxFailures int32) []string {
	var out []string
	if keepLast < MinKeepLast || keepLast > MaxKeepLast {
		out = append(out, fmt.Sprintf("spec.retention.keepLast %d is out of bounds: choose %d to %d", keepLast, MinKeepLast, MaxKeepLast))
	}
	switch {
	case maxFailures < MinMaxFailures:
		out = append(out, fmt.Sprintf("spec.maxFailures %d is too low: choose at least %d", maxFailures, MinMaxFailures))
	case maxFailures >= keepLast:
		out = append(out, fmt.Sprintf("spec.maxFailures %d must be lower than spec.retention.keepLast, which is %d: lower the one or raise the other", maxFailures, keepLast))
	}
	return out
}

func human(d time.Duration) string {
	const day = 24 * time.Hour
	if d > day && d%day == 0 {
		return words.Count(int(d/day), "day")
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func said(at time.Time) string { return at.Format("2006-01-02 15:04:05 MST") }
