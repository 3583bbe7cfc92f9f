package schedule

import "time"

// year is how far ahead pauses are looked at.
const year = 366 * 24 * time.Hour

// pausesSeen bounds how many are looked at one by one: those of a whole year for
// whatever runs daily.
const pausesSeen = 370

// LongestPause is the longest time from one nominal time to the next, of those within
// a year after an instant, or of the first two if they come later.
func (t Timetable) LongestPause(from time.Time) time.Duration {
	switch {
	case t.fields == nil:
		return t.every
	case t.everyDay():
		return t.longestOfDays(from)
	}
	former := t.Next(from)
	next := t.Next(former)
	longest := next.Sub(former)
	for n := 1; n < pausesSeen && next.Sub(from) <= year; n++ {
		former, next = next, t.Next(next)
		longest = max(longest, next.Sub(former))
	}
	return longest
}

// everyDay tells whether the timetable comes on every day, and so at the same times.
func (t Timetable) everyDay() bool {
	const dom, months, dow = 1<<32 - 1<<1, 1<<13 - 1<<1, 1<<7 - 1
	f := t.fields
	return f.Dom&dom == dom && f.Month&months == months && f.Dow&dow == dow
}

// longestOfDays is the longest pause of a timetable whose days are all alike. Only those
// pauses in which the clock is changed can be longer than those of any day, so that of
// ten thousand schedules each can be asked.
func (t Timetable) longestOfDays(from time.Time) time.Duration {
	usual := t.longestOfDay()
	longest, until := usual, from.Add(year)
	for s := t.stretch(from); !s.end.IsZero() && !s.end.After(until.Add(usual)); s = t.following(s) {
		// The last time before the change is no further away.
		former := t.Next(later(from, s.end.Add(-usual-time.Second)))
		for former.Before(s.end) && !former.After(until) {
			next := t.Next(former)
			longest, former = max(longest, next.Sub(former)), next
		}
	}
	return longest
}

// longestOfDay is the longest pause between times of a day, and from its last to the
// next day's first, where the clock is not changed.
func (t Timetable) longestOfDay() time.Duration {
	const day = 24 * 60
	first, last, longest := -1, -1, 0
	for m := range day {
		if t.fields.Hour>>(m/60)&1 == 0 || t.fields.Minute>>(m%60)&1 == 0 {
			continue
		}
		if first < 0 {
			first = m
		} else {
			longest = max(longest, m-last)
		}
		last = m
	}
	return time.Duration(max(longest, first+day-last)) * time.Minute
}
