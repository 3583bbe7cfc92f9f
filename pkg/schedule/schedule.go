// Package schedule says when a VMSchedule runs, and what is refused of its
// times. The timetable comes from a cron expression and a time zone, by the
// rules on daylight saving below; what is to be run now follows from it, from
// what was dealt with before and from the clock.
//
// It is pure: no clients, no timers, no state. The coordinator, the admission
// webhook and the command line ask the same functions. Which points a schedule
// keeps is the package retention's business.
//
// # Daylight saving
//
// A timetable neither skips nor doubles a run on the days on which the clock is
// changed:
//
//   - Where the hour field leaves hours out, the expression names times of the
//     day. One that the clock jumps over runs at the first instant after the
//     jump, together with any other that falls there; one that the clock shows
//     twice runs the first time.
//   - Where the hour field is every hour ("*", "0-23"), the expression names
//     positions of the minute hand, and runs go on by elapsed time: an hour that
//     the clock repeats has its runs again, one that it leaves out has none. Only
//     a shift by a part of an hour, as the 30 minutes of Lord Howe, moves the
//     minute hand itself; positions that it jumps over run right after the jump,
//     and those that it passes a second time do not run again.
//   - "@every" knows no clock: it counts from its anchor.
package schedule

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
	// A schedule's zone must be known wherever its timetable is asked for, also
	// in an image or on a machine without a zone database.
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

// Timetable are the nominal times of a schedule. They are whole seconds, of a
// cron expression whole minutes. The zero value is of no use; Parse makes one.
type Timetable struct {
	expression string
	zone       *time.Location
	fields     *cron.SpecSchedule // of wall-clock times, as if they were UTC; nil for "@every"
	hourly     bool               // the hour field is every hour
	daily      int64              // runs on a day that matches
	every      time.Duration      // of "@every"
	anchor     time.Time          // what "@every" counts from
}

const (
	everyMin = time.Second
	everyMax = 366 * 24 * time.Hour
)

// parser takes what Harvester's schedules take, and what users know of cron.
var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Parse reads a cron expression (spec.cron) and the IANA name of a zone
// (spec.timeZone; "" is UTC). The expression has the five fields minute, hour,
// day of month, month and day of week (0 to 6 or sun to sat; where both kinds of
// day are limited, either is enough), or is a word such as @daily, or "@every"
// with a duration of whole seconds. anchor is what the latter counts from, the
// schedule's creation, so that its times do not depend on when a program was
// started; the first of them is a duration after it.
//
// The error is one sentence that names the field, its value and what to do.
func Parse(expression, zone string, anchor time.Time) (Timetable, error) {
	t := Timetable{expression: strings.TrimSpace(expression), anchor: anchor.UTC().Truncate(time.Second)}
	if anchor.IsZero() {
		t.anchor = time.Unix(0, 0).UTC()
	}
	var err error
	if t.zone, err = Zone(zone); err != nil {
		return Timetable{}, err
	}
	if rest, ok := strings.CutPrefix(t.expression, "@every"); ok {
		t.every, err = time.ParseDuration(strings.TrimSpace(rest))
		if err != nil || t.every%time.Second != 0 || t.every < everyMin || t.every > everyMax {
			return Timetable{}, fmt.Errorf("spec.cron %q is not a schedule: after @every write a duration of whole seconds between 1s and %dh, such as @every 6h", expression, int(everyMax.Hours()))
		}
		return t, nil
	}
	if t.fields, err = parseFields(t.expression); err != nil {
		return Timetable{}, fmt.Errorf("spec.cron %q is not a schedule: %w: write minute, hour, day of month, month and day of week, a word such as @daily, or @every 6h", expression, err)
	}
	minutes, hours := ones(t.fields.Minute, 60), ones(t.fields.Hour, 24)
	t.hourly, t.daily = hours == 24, int64(minutes*hours)
	if t.daily == 0 || t.nextWall(horizonStart).IsZero() {
		return Timetable{}, fmt.Errorf("spec.cron %q never comes: name a day that a month has, and at least one value in each field", expression)
	}
	return t, nil
}

// Zone is a zone by its IANA name (spec.timeZone), "" is UTC.
func Zone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || zone == time.Local { // which is another one for each program
		return nil, fmt.Errorf("spec.timeZone %q is not a time zone: name one as in the IANA database, such as Europe/Berlin or UTC", name)
	}
	return zone, nil
}

func parseFields(expression string) (*cron.SpecSchedule, error) {
	// The parser would take a zone here, and not survive one without fields.
	if strings.Contains(expression, "=") {
		return nil, fmt.Errorf("the zone does not belong here but in spec.timeZone")
	}
	// It would take this for a mere star.
	if strings.Contains(expression, "*-") || strings.Contains(expression, "?-") {
		return nil, fmt.Errorf("a range begins with a number or a name")
	}
	parsed, err := parser.Parse(expression)
	if err != nil {
		return nil, err
	}
	fields, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("it is of a kind that is not known here")
	}
	fields.Location = time.UTC
	return fields, nil
}

// ones counts the values in the lowest n bits of a field.
func ones(field uint64, n int) int { return bits.OnesCount64(field & (1<<n - 1)) }

// Location is the zone of the timetable.
func (t Timetable) Location() *time.Location { return t.zone }

// String is the expression.
func (t Timetable) String() string { return t.expression }

// Key is the same for timetables with the same times.
func (t Timetable) Key() string {
	key := t.expression + " " + t.zone.String()
	if t.every > 0 {
		key += fmt.Sprintf(" from %d", t.anchor.Unix())
	}
	return key
}
