package schedule

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wallCase is a cron expression, and what it says written out by hand.
type wallCase struct {
	cron    string
	matches func(w time.Time) bool
	hourly  bool // runs go on by elapsed time
}

var wallCases = []wallCase{
	{"*/7 * * * *", func(w time.Time) bool { return w.Minute()%7 == 0 }, true},
	{"0 * * * *", func(w time.Time) bool { return w.Minute() == 0 }, true},
	{"15,45 * * * *", func(w time.Time) bool { return w.Minute()%30 == 15 }, true},
	{"*/20 0-23 * * 1-5", func(w time.Time) bool {
		return w.Minute()%20 == 0 && w.Weekday() != time.Saturday && w.Weekday() != time.Sunday
	}, true},
	{"@hourly", func(w time.Time) bool { return w.Minute() == 0 }, true},
	{"0 2 * * *", func(w time.Time) bool { return w.Hour() == 2 && w.Minute() == 0 }, false},
	{"15 2 * * *", func(w time.Time) bool { return w.Hour() == 2 && w.Minute() == 15 }, false},
	{"30 2 * * *", func(w time.Time) bool { return w.Hour() == 2 && w.Minute() == 30 }, false},
	{"30 1 * * *", func(w time.Time) bool { return w.Hour() == 1 && w.Minute() == 30 }, false},
	{"45 1 * * *", func(w time.Time) bool { return w.Hour() == 1 && w.Minute() == 45 }, false},
	{"0 3 * * *", func(w time.Time) bool { return w.Hour() == 3 && w.Minute() == 0 }, false},
	{"*/10 1-3 * * *", func(w time.Time) bool { return w.Hour() >= 1 && w.Hour() <= 3 && w.Minute()%10 == 0 }, false},
	{"0 */2 * * *", func(w time.Time) bool { return w.Hour()%2 == 0 && w.Minute() == 0 }, false},
	{"@daily", func(w time.Time) bool { return w.Hour() == 0 && w.Minute() == 0 }, false},
	{"59 23 * * sun", func(w time.Time) bool { return w.Weekday() == time.Sunday && w.Hour() == 23 && w.Minute() == 59 }, false},
	{"30 2 * * 0", func(w time.Time) bool { return w.Weekday() == time.Sunday && w.Hour() == 2 && w.Minute() == 30 }, false},
	{"0 12 31 * *", func(w time.Time) bool { return w.Day() == 31 && w.Hour() == 12 && w.Minute() == 0 }, false},
	{"0 6 1 * 1", func(w time.Time) bool {
		return (w.Day() == 1 || w.Weekday() == time.Monday) && w.Hour() == 6 && w.Minute() == 0
	}, false},
	{"@yearly", func(w time.Time) bool { return w.YearDay() == 1 && w.Hour() == 0 && w.Minute() == 0 }, false},
}

// enumerate goes through every minute of [from, to) and asks what the clock of
// a zone shows. It shares nothing with the code under test: no cron parser, no
// bounds of zones, no searching.
func enumerate(from, to time.Time, zone *time.Location, cases []wallCase) [][]time.Time {
	type state struct {
		runs   []time.Time
		resume time.Time // a wall time; what is shown before it was shown already
	}
	all := make([]state, len(cases))
	shown := func(at time.Time) time.Time {
		l := at.In(zone)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	former := shown(from.Add(-time.Minute))
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		w := shown(at)
		step := w.Sub(former)
		for i, c := range cases {
			s := &all[i]
			switch {
			case step < 0: // set back: the times until former come again
				s.resume = former.Add(time.Minute)
				if c.hourly { // only as far as the minute hand went back
					s.resume = w.Add((time.Minute - step) % time.Hour)
				}
			case step > time.Minute: // set forward: which are jumped over?
				jumped := step - time.Minute
				if c.hourly {
					jumped %= time.Hour
				}
				for m := former.Add(time.Minute); jumped > 0; jumped, m = jumped-time.Minute, m.Add(time.Minute) {
					if c.matches(m) && !c.matches(w) {
						s.runs = append(s.runs, at)
						break
					}
				}
			}
			if c.matches(w) && !w.Before(s.resume) {
				s.runs = append(s.runs, at)
			}
		}
		former = w
	}
	out := make([][]time.Time, len(cases))
	for i := range all {
		out[i] = all[i].runs
	}
	return out
}

// TestAgainstTheClock compares timetables with an enumeration of every minute
// of three years.
func TestAgainstTheClock(t *testing.T) {
	type span struct{ from, to int }
	for zone, years := range map[string]span{
		"Europe/Berlin":       {2025, 2028},
		"America/New_York":    {2025, 2028},
		"Australia/Lord_Howe": {2025, 2028}, // by half an hour
		"Asia/Kolkata":        {2025, 2028}, // never, and half an hour off
		"America/Havana":      {2025, 2026}, // at midnight, and back from 1:00
		"Africa/Casablanca":   {2025, 2026}, // four times a year with Ramadan
		"America/Sao_Paulo":   {2017, 2019}, // no midnight
		"Pacific/Apia":        {2011, 2012}, // a day that did not exist
		"Antarctica/Troll":    {2025, 2026}, // by two hours
	} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			loc, err := time.LoadLocation(zone)
			require.NoError(t, err)
			from := time.Date(years.from, time.January, 1, 0, 0, 0, 0, time.UTC)
			to := time.Date(years.to, time.January, 1, 0, 0, 0, 0, time.UTC)
			for i, want := range enumerate(from, to, loc, wallCases) {
				c := wallCases[i]
				table, err := Parse(c.cron, zone, time.Time{})
				require.NoError(t, err)
				got := slices.Collect(func(yield func(time.Time) bool) {
					for at := range table.All(from.Add(-time.Second)) {
						if !at.Before(to) || !yield(at) {
							return
						}
					}
				})
				for n := range min(len(got), len(want)) {
					if !got[n].Equal(want[n]) {
						t.Fatalf("%s, run %d: %s, by the clock %s", c.cron, n, got[n].In(loc), want[n].In(loc))
					}
				}
				require.Len(t, got, len(want), c.cron)
				require.EqualValues(t, len(want), table.Count(from.Add(-time.Second), to.Add(-time.Second)), "%s, counted", c.cron)
			}
		})
	}
}

// TestNoDaySkippedOrDoubled says the same without any rule: each daily run comes
// once on each date that exists, hourly ones an hour apart.
func TestNoDaySkippedOrDoubled(t *testing.T) {
	from, to := time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, time.January, 1, 0, 0, 0, 0, time.UTC)
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"} {
		loc, err := time.LoadLocation(zone)
		require.NoError(t, err)
		for minute := range 24 * 4 {
			at := minute * 15
			table, err := Parse(time.Unix(int64(at)*60, 0).UTC().Format("4 15 * * *"), zone, time.Time{})
			require.NoError(t, err)
			dates := map[string]int{}
			for run := range table.All(from) {
				if run.After(to) {
					break
				}
				dates[run.In(loc).Format(time.DateOnly)]++
			}
			for day := from.In(loc).AddDate(0, 0, 1); day.Before(to.AddDate(0, 0, -1)); day = day.AddDate(0, 0, 1) {
				require.Equal(t, 1, dates[day.Format(time.DateOnly)], "%s in %s on %s", table, zone, day.Format(time.DateOnly))
			}
		}
		hourly, err := Parse("7 * * * *", zone, time.Time{})
		require.NoError(t, err)
		before := hourly.Next(from)
		for run := range hourly.All(before) {
			gap := run.Sub(before)
			if zone == "Australia/Lord_Howe" { // where the minute hand itself is moved
				require.GreaterOrEqual(t, gap, 30*time.Minute, "%s", run)
				require.LessOrEqual(t, gap, 90*time.Minute, "%s", run)
			} else {
				require.Equal(t, time.Hour, gap, "%s", run)
			}
			if before = run; run.After(to) {
				break
			}
		}
	}
}
