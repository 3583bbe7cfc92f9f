package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// field draws a field of a cron expression.
func field(t *rapid.T, label string, low, high int) string {
	number := rapid.IntRange(low, high)
	item := rapid.Custom(func(t *rapid.T) string {
		switch rapid.IntRange(0, 4).Draw(t, "form") {
		case 0:
			return "*"
		case 1:
			return fmt.Sprintf("*/%d", rapid.IntRange(1, high).Draw(t, "step"))
		case 2:
			a, b := number.Draw(t, "a"), number.Draw(t, "b")
			return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
		default:
			return fmt.Sprint(number.Draw(t, "n"))
		}
	})
	return strings.Join(rapid.SliceOfN(item, 1, 3).Draw(t, label), ",")
}

func timetable(t *rapid.T) Timetable {
	zone := rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Apia"}).Draw(t, "zone")
	if rapid.IntRange(0, 9).Draw(t, "every") == 0 {
		every := time.Duration(rapid.Int64Range(1, 366*24*3600).Draw(t, "seconds")) * time.Second
		table, err := Parse("@every "+every.String(), zone, instant(t, "anchor"))
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	cron := strings.Join([]string{field(t, "minute", 0, 59), field(t, "hour", 0, 23), field(t, "dom", 1, 31), field(t, "month", 1, 12), field(t, "dow", 0, 6)}, " ")
	table, err := Parse(cron, zone, time.Time{})
	if err != nil {
		if strings.Contains(err.Error(), "never comes") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	return table
}

func instant(t *rapid.T, label string) time.Time {
	from := at("2011-01-01T00:00:00Z").Unix()
	return time.Unix(from+rapid.Int64Range(0, 30*365*24*3600).Draw(t, label), rapid.Int64Range(0, 1).Draw(t, "part")*5e8).UTC()
}

// TestTimetable: Next, Last, Count and All tell of the same times.
func TestTimetable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, from := timetable(t), instant(t, "from")
		next := table.Next(from)
		if !next.After(from) || next.Nanosecond() != 0 {
			t.Fatalf("%s: after %s comes %s", table, from, next)
		}
		between := from.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(from))-1).Draw(t, "between")))
		if again := table.Next(between); !again.Equal(next) {
			t.Fatalf("%s: after %s comes %s, but after %s %s", table, from, next, between, again)
		}
		if last := table.Last(next); !last.Equal(next) {
			t.Fatalf("%s: %s is one, but the last until then is %s", table, next, last)
		}
		if last := table.Last(from); !last.IsZero() && (last.After(from) || !table.Next(last).Equal(next)) {
			t.Fatalf("%s: the last until %s is %s, but then comes %s", table, from, last, table.Next(last))
		}
		var n int64
		for run := range table.All(from) {
			if n++; !run.After(from) {
				t.Fatalf("%s: %s is not after %s", table, run, from)
			}
			if n == 400 || run.Year() > 2060 {
				if got := table.Count(from, run); got != n {
					t.Fatalf("%s: %d times from %s until %s, counted %d", table, n, from, run, got)
				}
				if got := table.Count(from, run.Add(-time.Nanosecond)); got != n-1 {
					t.Fatalf("%s: %d times from %s until before %s, counted %d", table, n-1, from, run, got)
				}
				break
			}
		}
		a, b := instant(t, "a"), instant(t, "b")
		if split := table.Count(from, a) + table.Count(a, b); !from.After(a) && !a.After(b) && split != table.Count(from, b) {
			t.Fatalf("%s: %d from %s until %s, %d by way of %s", table, table.Count(from, b), from, b, split, a)
		}
	})
}

// TestInterval: no two runs are closer than the interval, but for the days on
// which the clock is changed, and some are just as far apart.
func TestInterval(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := timetable(t)
		table.zone = time.UTC
		interval, reached := table.Interval(), false
		before := table.Next(horizonStart)
		n := 0
		for run := range table.All(before) {
			gap := run.Sub(before)
			if gap < interval {
				t.Fatalf("%s: %s after %s, the interval is %s", table, run, before, interval)
			}
			reached = reached || gap == interval
			if n++; n == 3_000 || run.After(horizonEnd) {
				break
			}
			before = run
		}
		if !reached && n < 3_000 {
			t.Fatalf("%s: no two runs are %s apart", table, interval)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0 2 * * *", "@every 1h", "@daily", "TZ=UTC 0 0 * * *", "*/5 1-3,7 1 jan sun", "0 0 30 2 *", "? ? ? ? ?", ",,,,", "*-1 * * * *", "0 0 29 2 1"} {
		f.Add(s, "Europe/Berlin")
	}
	f.Add("0 2 * * *", "Local")
	now := at("2026-03-29T00:30:00Z")
	f.Fuzz(func(t *testing.T, cron, zone string) {
		table, err := Parse(cron, zone, now)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "spec.cron ") && !strings.HasPrefix(err.Error(), "spec.timeZone ") {
				t.Fatalf("names no field: %v", err)
			}
			return
		}
		next := table.Next(now)
		if !next.After(now) || !table.Next(next).After(next) || table.Interval() < time.Second {
			t.Fatalf("%q in %q: %s, then %s, every %s", cron, zone, next, table.Next(next), table.Interval())
		}
		if !table.Last(next).Equal(next) || table.Count(now, next) != 1 {
			t.Fatalf("%q in %q: the last until %s is %s, counted %d", cron, zone, next, table.Last(next), table.Count(now, next))
		}
	})
}
