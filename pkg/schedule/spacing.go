package schedule

import "time"

// The horizon over which spacing is judged does not depend on when somebody
// asks. After 28 years the days of the week are on the same dates again, leap
// years included, so every combination of fields has come by then.
var (
	horizonStart = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second)
	horizonEnd   = horizonStart.AddDate(28, 0, 0)
)

// compared bounds the runs that are looked at for one pair of schedules. Hourly
// ones have shown both changes of the clock by then, daily ones most of the
// horizon.
const compared = 20_000

// Interval is the shortest time between two runs as the clock shows it on days
// on which it is not changed. Schedules that have it in common are of the same
// granularity: daily ones, be it at 2:00 or on workdays only, or hourly ones.
func (t Timetable) Interval() time.Duration {
	if t.fields == nil {
		return t.every
	}
	const day = 24 * time.Hour
	start := t.nextWall(horizonStart)
	shortest := horizonEnd.Sub(horizonStart)
	// The days that match are all alike: the first one shows what is between the
	// runs of a day, the nearest two what is between days.
	latest := start
	for w := t.nextWall(start); w.Before(start.Truncate(day).Add(day)); w = t.nextWall(latest) {
		shortest = min(shortest, w.Sub(latest))
		latest = w
	}
	within := latest.Sub(start)
	for w := start; w.Before(horizonEnd); {
		next := t.nextWall(w.Truncate(day).Add(day - time.Second))
		shortest = min(shortest, next.Sub(w)-within)
		if next.Sub(w) == day {
			break
		}
		w = next
	}
	return shortest
}

// meets tells whether two timetables have runs less than MinOffset apart, and
// which, each in its own zone.
func (t Timetable) meets(o Timetable) (a, b time.Time, close bool) {
	if t.fields == nil || o.fields == nil || t.zone.String() != o.zone.String() {
		a, b, close = closest(t, o)
		return a.In(t.zone), b.In(o.zone), close
	}
	if !t.near(o) {
		return time.Time{}, time.Time{}, false
	}
	// In one zone the times on the clock are compared, so that the days on which
	// it is changed play no part.
	zone := t.zone
	t.zone, o.zone = time.UTC, time.UTC
	a, b, close = closest(t, o)
	return in(zone, a), in(zone, b), close
}

// closest looks for the first runs of two timetables that are less than
// MinOffset apart.
func closest(t, o Timetable) (a, b time.Time, close bool) {
	a, b = t.Next(horizonStart), o.Next(horizonStart)
	for n := 0; n < compared && a.Before(horizonEnd) && b.Before(horizonEnd); n++ {
		switch distance := a.Sub(b); {
		case distance.Abs() < MinOffset:
			return a, b, true
		case distance < 0:
			a = t.Next(later(a, b.Add(-MinOffset)))
		default:
			b = o.Next(later(b, a.Add(-MinOffset)))
		}
	}
	return a, b, false
}

// in is the time on the clock of a zone that w shows as if it were UTC.
func in(zone *time.Location, w time.Time) time.Time {
	return time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), 0, zone)
}

// near tells whether any two times of the day of two cron expressions are less
// than MinOffset apart. Of two that are not, no days need to be looked at.
func (t Timetable) near(o Timetable) bool {
	const day, reach = 24 * 60, int(MinOffset / time.Minute)
	var taken [day]bool
	o.eachMinute(func(m int) {
		for d := 1 - reach; d < reach; d++ {
			taken[(m+d+day)%day] = true
		}
	})
	found := false
	t.eachMinute(func(m int) { found = found || taken[m] })
	return found
}

// eachMinute calls f with each time of the day, in minutes.
func (t Timetable) eachMinute(f func(minute int)) {
	for h := range 24 {
		for m := range 60 {
			if t.fields.Hour&(1<<h) != 0 && t.fields.Minute&(1<<m) != 0 {
				f(h*60 + m)
			}
		}
	}
}
