package schedule

import "time"

// Past is what was dealt with before.
type Past struct {
	// Last is the newest nominal time that was dealt with: run, skipped or
	// missed. It is recorded before a run is made and never goes back, so nothing
	// at or before it is run again, whatever the clock shows. Zero: none yet.
	Last time.Time
	// Since is when the timetable began to hold: the schedule's creation, or the
	// last change of its cron expression or zone. What a new timetable would have
	// run before it was written is neither run nor missed.
	Since time.Time
}

// Lateness says how late a run may begin.
type Lateness struct {
	// Deadline: a run that is later is missed. 0: there is none.
	Deadline time.Duration
	// Each: nominal times that are no later are all run, the oldest first. It is
	// for timetables of seconds, which shall not lose runs to a change of leader;
	// where runs are an hour apart it changes nothing. Of older ones only the
	// newest is run, to catch up.
	Each time.Duration
}

// Decision is what to do now.
type Decision struct {
	// Run is the nominal time of the run to make; zero: none.
	Run time.Time
	// CatchUp tells that Run makes up for what passed while nobody could run it.
	CatchUp bool
	// Missed are the nominal times between the former Last and the new one that
	// are not run.
	Missed int64
	// Last is the newest nominal time that is dealt with after this, to be
	// recorded together with Missed and before the run is made.
	Last time.Time
	// Next is the nominal time at which to ask again. It has come already where
	// Lateness.Each leaves more than one run to make.
	Next time.Time
	// Ahead is by how much Last is later than the clock shows: that was set back.
	// Nothing runs before it is Last again.
	Ahead time.Duration
}

// onTime is how late a run may be without being one that catches up: programs
// take a moment, and so does a change of leader.
const onTime = time.Minute

// Due says what a schedule that is not suspended has to do now. After downtime
// or a suspension that is one run at most. Without any past nothing is made up
// for.
func (t Timetable) Due(past Past, now time.Time, late Lateness) Decision {
	dealt := later(past.Last, past.Since)
	if dealt.IsZero() {
		dealt = now
	}
	d := Decision{Last: past.Last, Ahead: max(0, past.Last.Sub(now))}
	if run := t.toRun(dealt, now, late); !run.IsZero() {
		d.Last, dealt = run, run
		d.Missed = t.Count(later(past.Last, past.Since), run)
		if lateness := now.Sub(run); late.Deadline == 0 || lateness <= late.Deadline {
			d.Run, d.CatchUp = run, lateness > max(onTime, late.Each)
			d.Missed--
		}
	}
	d.Next = t.Next(dealt)
	return d
}

// toRun is the nominal time after dealt that is to be run now, if it is not too
// late for that; zero when none has come.
func (t Timetable) toRun(dealt, now time.Time, late Lateness) time.Time {
	if t.Next(dealt).After(now) {
		return time.Time{}
	}
	each := late.Each
	if late.Deadline > 0 {
		each = min(each, late.Deadline)
	}
	if oldest := t.Next(later(dealt, now.Add(-each-time.Nanosecond))); !oldest.After(now) {
		return oldest
	}
	return t.Last(now)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
