package schedule

import (
	"iter"
	"time"
)

// stretch is a time between two changes of a zone's offset. Within it the wall
// clock runs like any other.
type stretch struct {
	start, end time.Time     // zero: it has none
	offset     time.Duration // from UTC to the wall clock
	before     time.Duration // the offset until start
}

func (t Timetable) stretch(at time.Time) stretch {
	local := at.In(t.zone)
	s := stretch{offset: offset(local)}
	s.start, s.end = local.ZoneBounds()
	// Beyond the table of its zone database Go takes every year for one of 365
	// days: on the last day of a leap year it says that this had an end before.
	if !s.end.IsZero() && !s.end.After(at) {
		s.start, s.end = s.end, time.Date(at.UTC().Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	s.before = s.offset
	if !s.start.IsZero() {
		s.before = offset(s.start.Add(-time.Second))
	}
	return s
}

// following is the stretch after s, which has an end. Its start is that end, also
// where Go, beyond its table, tells another one.
func (t Timetable) following(s stretch) stretch {
	next := t.stretch(s.end)
	next.start, next.before = s.end, s.offset
	return next
}

func offset(local time.Time) time.Duration {
	_, seconds := local.Zone()
	return time.Duration(seconds) * time.Second
}

// wall is what the clock shows at an instant, as if that were UTC.
func (s stretch) wall(at time.Time) time.Time { return at.UTC().Add(s.offset) }

// instant is when the clock shows w.
func (s stretch) instant(w time.Time) time.Time { return w.Add(-s.offset) }

// shift is by how much the change at the start of s moved the timetable.
func (t Timetable) shift(s stretch) time.Duration {
	if t.hourly {
		return (s.offset - s.before) % time.Hour // whole hours do not move the minute hand
	}
	return s.offset - s.before
}

// first is the first time on the clock that counts in s: not those that it has
// shown before. Zero where s has no start.
func (t Timetable) first(s stretch) time.Time {
	if s.start.IsZero() {
		return time.Time{}
	}
	return s.wall(s.start).Add(max(0, -t.shift(s)))
}

// missed tells whether the change at the start of s jumped over a nominal time.
func (t Timetable) missed(s stretch) bool {
	from := s.start.UTC().Add(s.before)
	next := t.nextWall(from.Add(-time.Second))
	return !next.IsZero() && next.Before(from.Add(t.shift(s)))
}

// nextWall is the first time after w at which the fields match, on a clock that
// is never changed; zero when there is none.
func (t Timetable) nextWall(w time.Time) time.Time {
	// The library gives up after five years; between two 29ths of February there
	// can be eight.
	for range 3 {
		if next := t.fields.Next(w); !next.IsZero() {
			return next
		}
		w = time.Date(w.Year()+5, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	return time.Time{}
}

// after is the time on the clock of s behind which to look for what comes after
// an instant, which may lie before s.
func (t Timetable) after(s stretch, at time.Time) time.Time {
	w := s.wall(at)
	if first := t.first(s); w.Before(first) {
		return first.Add(-time.Second)
	}
	return w
}

// Next is the first nominal time after an instant, in UTC.
func (t Timetable) Next(after time.Time) time.Time {
	if t.fields == nil {
		return t.nth(max(t.passed(after), 0) + 1)
	}
	for s := t.stretch(after); ; {
		w := t.nextWall(t.after(s, after))
		if w.IsZero() {
			return w
		}
		if next := s.instant(w); s.end.IsZero() || next.Before(s.end) {
			return next
		}
		s = t.following(s)
		if t.missed(s) {
			return s.start.UTC()
		}
	}
}

// nth is the n-th time of "@every".
func (t Timetable) nth(n int64) time.Time { return t.anchor.Add(time.Duration(n) * t.every) }

// passed is how many times of "@every" have come until an instant; negative
// before the anchor.
func (t Timetable) passed(until time.Time) int64 {
	since := until.Sub(t.anchor)
	n := int64(since / t.every)
	if since%t.every < 0 {
		n--
	}
	return n
}

// Last is the newest nominal time at or before an instant; zero when there is
// none.
func (t Timetable) Last(until time.Time) time.Time {
	if t.fields == nil {
		if n := t.passed(until); n > 0 {
			return t.nth(n)
		}
		return time.Time{}
	}
	// Look back further and further, then close in on the instant behind which
	// nothing comes any more.
	const furthest = 30 * 365 * 24 * time.Hour
	back := time.Hour
	for t.Next(until.Add(-back)).After(until) {
		if back *= 2; back > furthest {
			return time.Time{}
		}
	}
	lo, hi := until.Add(-back), until
	for hi.Sub(lo) > time.Second {
		mid := lo.Add(hi.Sub(lo) / 2)
		if t.Next(mid).After(until) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return t.Next(lo)
}

// Count is the number of nominal times after one instant and not after another.
// It goes by days, so that years cost little.
func (t Timetable) Count(after, until time.Time) int64 {
	if !after.Before(until) {
		return 0
	}
	if t.fields == nil {
		return max(0, t.passed(until)) - max(0, t.passed(after))
	}
	var n int64
	for s := t.stretch(after); ; {
		last := s.wall(until)
		ends := !s.end.IsZero() && !until.Before(s.end)
		if ends {
			last = s.wall(s.end).Add(-time.Nanosecond)
		}
		n += t.countWall(t.after(s, after), last)
		if !ends {
			return n
		}
		if s = t.following(s); t.missed(s) && !t.fits(s) {
			n++
		}
	}
}

// fits tells whether the first instant of s is a nominal time by itself.
func (t Timetable) fits(s stretch) bool {
	w := s.wall(s.start)
	return t.nextWall(w.Add(-time.Second)).Equal(w)
}

// countWall counts the times after one and not after another on a clock that is
// never changed.
func (t Timetable) countWall(after, until time.Time) (n int64) {
	const day = 24 * time.Hour
	for w := t.nextWall(after); !w.IsZero() && !w.After(until); {
		midnight := w.Truncate(day)
		if after.Before(midnight) && until.After(midnight.Add(day)) {
			n += t.daily
			after = midnight.Add(day - time.Second)
		} else {
			n++
			after = w
		}
		w = t.nextWall(after)
	}
	return n
}

// All are the nominal times after an instant, one after the other, without end.
func (t Timetable) All(after time.Time) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for next := t.Next(after); !next.IsZero() && yield(next); {
			next = t.Next(next)
		}
	}
}
