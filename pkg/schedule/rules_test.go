package schedule

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIntervals(t *testing.T) {
	const day = 24 * time.Hour
	for cron, want := range map[string]time.Duration{
		"* * * * *":           time.Minute,
		"*/30 * * * *":        30 * time.Minute,
		"0 * * * *":           time.Hour,
		"@hourly":             time.Hour,
		"0 1,4 * * *":         3 * time.Hour,
		"50 23 * * *":         day,
		"0 0,23 * * *":        time.Hour, // over midnight
		"5 0 * * 1":           7 * day,
		"0 2 * * 1-5":         day,
		"0 2 1 * *":           28 * day,
		"0 2 1,15 * *":        14 * day,
		"0 2 28-31 * *":       day,
		"0 2 1 * 1":           day,
		"@yearly":             365 * day,
		"0 2 29 2 *":          1461 * day,
		"@every 90m":          90 * time.Minute,
		"0,59 0,23 1,31 12 *": 59 * time.Minute,
	} {
		// In zones with daylight saving too, though a day has 23 hours there once.
		for _, zone := range []string{"UTC", "Europe/Berlin"} {
			require.Equal(t, want, parsed(t, cron, zone).Interval(), cron)
		}
	}
}

func TestSpacing(t *testing.T) {
	type other struct{ name, cron, zone string }
	every := func(anchor string) Timetable {
		table, err := Parse("@every 6h", "UTC", at(anchor))
		require.NoError(t, err)
		return table
	}
	for _, c := range []struct {
		name, cron, zone string
		override         bool
		others           []other
		says             []string // parts of the sentences, in order; none: allowed
	}{
		{name: "alone", cron: "0 2 * * *"},
		{name: "hourly", cron: "0 * * * *"},
		{name: "too often", cron: "*/30 * * * *", says: []string{`spec.cron "*/30 * * * *" runs every 30m, and 1h is the shortest interval: write one that is wider, or give the reason in spec.spacingOverride`}},
		{name: "too often once a day", cron: "0,30 2 * * *", says: []string{"runs every 30m"}},
		{name: "too often over midnight", cron: "30 0,23 * * *", says: nil},
		{name: "too often over midnight, indeed", cron: "20 0,3,23 1 * *"},
		{name: "close over midnight", cron: "0 0 * * *", others: []other{{"late", "55 23 * * *", "UTC"}}, says: []string{"only 5m away from it"}},
		{name: "seconds", cron: "@every 1s", says: []string{"runs every 1s"}},
		{name: "on record", cron: "@every 1s", override: true, others: []other{{"a", "@every 1s", "UTC"}}},
		{name: "ten minutes", cron: "10 2 * * *", others: []other{{"a", "0 2 * * *", "UTC"}}},
		{
			name: "nine", cron: "9 2 * * *", others: []other{{"a", "0 2 * * *", "UTC"}},
			says: []string{`spec.cron "9 2 * * *" has the interval of schedule a (24h) and runs only 9m away from it, as on 2025-01-01 02:09:00 UTC and 2025-01-01 02:00:00 UTC: keep 10m between them, or give the reason in spec.spacingOverride`},
		},
		{name: "the same", cron: "0 2 * * *", others: []other{{"a", "0 2 * * *", "UTC"}}, says: []string{"only 0s away"}},
		{name: "other granularity", cron: "0 * * * *", others: []other{{"a", "0 2 * * *", "UTC"}}},
		{name: "workdays and weekends", cron: "0 2 * * 1-5", others: []other{{"a", "0 2 * * 0,6", "UTC"}}},
		{name: "workdays and every day", cron: "0 2 * * 1-5", others: []other{{"a", "5 2 * * *", "UTC"}}, says: []string{"only 5m"}},
		{name: "different days of the week", cron: "0 2 * * 1", others: []other{{"a", "0 2 * * 2", "UTC"}}},
		{name: "once in years", cron: "0 2 1 * *", others: []other{{"a", "0 2 1 2 *", "UTC"}}},
		{name: "the 29th", cron: "0 2 29 2 *", others: []other{{"a", "5 2 29 2 *", "UTC"}}, says: []string{"only 5m away from it, as on 2028-02-29"}},
		{name: "both hours of a pair", cron: "0 1,13 * * *", others: []other{{"a", "55 0,12 * * *", "UTC"}}, says: []string{"only 5m"}},
		{name: "one hour of a pair", cron: "0 1,13 * * *", others: []other{{"a", "5 11,23 * * *", "UTC"}}},
		{
			name: "two of several", cron: "0 2 * * *", others: []other{{"a", "1 2 * * *", "UTC"}, {"b", "30 2 * * *", "UTC"}, {"c", "2 2 * * *", "UTC"}},
			says: []string{"schedule a", "schedule c"},
		},

		{name: "the day on which the clock changes does not count", cron: "30 2 * * *", zone: "Europe/Berlin", others: []other{{"a", "5 3 * * *", "Europe/Berlin"}}},
		{name: "in the zone's own words", cron: "30 2 * * *", zone: "Europe/Berlin", others: []other{{"a", "31 2 * * *", "Europe/Berlin"}}, says: []string{"2025-01-01 02:30:00 CET and 2025-01-01 02:31:00 CET"}},
		{name: "in two zones", cron: "0 2 * * *", zone: "Europe/Berlin", others: []other{{"a", "0 20 * * *", "America/New_York"}}, says: []string{"2025-01-01 02:00:00 CET and 2024-12-31 20:00:00 EST"}},
		{name: "in two zones, in some weeks only", cron: "0 2 * * *", zone: "Europe/Berlin", others: []other{{"a", "0 21 * * *", "America/New_York"}}, says: []string{"2025-03-10 02:00:00 CET and 2025-03-09 21:00:00 EDT"}},
		{name: "in two zones, never", cron: "0 2 * * *", zone: "Europe/Berlin", others: []other{{"a", "0 12 * * *", "America/New_York"}}},
		{name: "one zone by two names", cron: "0 2 * * *", zone: "UTC", others: []other{{"a", "5 2 * * *", "Etc/UTC"}}, says: []string{"only 5m"}},
		{name: "a day by the clock, a day by time", cron: "0 2 * * *", others: []other{{"a", "@every 24h", "UTC"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone := c.zone
			if zone == "" {
				zone = "UTC"
			}
			var others []Entry
			for _, o := range c.others {
				others = append(others, Entry{Name: o.name, Timetable: parsed(t, o.cron, o.zone)})
			}
			got := Spacing(Entry{Timetable: parsed(t, c.cron, zone), Override: c.override}, others)
			require.Len(t, got, len(c.says), "%q", got)
			for i, part := range c.says {
				require.Contains(t, got[i], part)
			}
		})
	}
	t.Run("every, from anchors", func(t *testing.T) {
		e := Entry{Timetable: every("2026-01-01T00:00:00Z")}
		require.Empty(t, Spacing(e, []Entry{{Name: "a", Timetable: every("2026-01-01T00:10:00Z")}}))
		require.Len(t, Spacing(e, []Entry{{Name: "a", Timetable: every("2026-01-01T05:52:00Z")}}), 1, "around the next one")
	})
	t.Run("an override of others does not help", func(t *testing.T) {
		others := []Entry{{Name: "a", Timetable: parsed(t, "0 2 * * *", "UTC"), Override: true}}
		require.Len(t, Spacing(Entry{Timetable: parsed(t, "0 2 * * *", "UTC")}, others), 1)
	})
}

// TestSpacingAgainstMinutes asks the same of every minute of a common year and
// a leap year.
func TestSpacingAgainstMinutes(t *testing.T) {
	expressions := []string{
		"0 2 * * *", "9 2 * * *", "12 2 * * *", "55 23 * * *", "4 0 * * *", "0 2 * * 1-5", "3 2 * * 0,6",
		"0 5 1 * *", "5 5 * 2 *", "0 5 29 2 *", "8 5 * * 4", "0 */6 * * *", "55 5,11,17,23 * * *", "59 * * * *", "5 * * * *", "30 * * * *",
	}
	from := horizonStart.Add(time.Second)
	to := from.AddDate(4, 0, 0)
	runs := map[string][]bool{}
	minutes := int(to.Sub(from) / time.Minute)
	for _, e := range expressions {
		fired := make([]bool, minutes)
		for run := range parsed(t, e, "UTC").All(horizonStart) {
			if !run.Before(to) {
				break
			}
			fired[int(run.Sub(from)/time.Minute)] = true
		}
		runs[e] = fired
	}
	for i, a := range expressions {
		for _, b := range expressions[:i] {
			ta, tb := parsed(t, a, "UTC"), parsed(t, b, "UTC")
			want := false
			if ta.Interval() == tb.Interval() {
				firedA, firedB, lastA, lastB := runs[a], runs[b], -100, -100
				for m := range minutes {
					if firedA[m] {
						lastA = m
					}
					if firedB[m] {
						lastB = m
					}
					want = want || min(lastA, lastB) >= 0 && max(lastA-lastB, lastB-lastA) < 10
				}
			}
			got := Spacing(Entry{Timetable: ta}, []Entry{{Name: "b", Timetable: tb}})
			require.Equal(t, want, len(got) > 0, "%s and %s: %s", a, b, strings.Join(got, "; "))
		}
	}
}

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		keep, failures int32
		says           []string
	}{
		{8, 4, nil},
		{3, 2, nil},
		{250, 249, nil},
		{1, 2, []string{"spec.retention.keepLast 1 is out of bounds: choose 2 to 250", "spec.maxFailures 2 must be lower than spec.retention.keepLast, which is 1"}},
		{251, 4, []string{"spec.retention.keepLast 251 is out of bounds"}},
		{8, 1, []string{"spec.maxFailures 1 is too low: choose at least 2"}},
		{8, 8, []string{"spec.maxFailures 8 must be lower than spec.retention.keepLast, which is 8: lower the one or raise the other"}},
		{2, 2, []string{"spec.maxFailures 2 must be lower"}},
	} {
		got := Bounds(c.keep, c.failures)
		require.Len(t, got, len(c.says), "%q", got)
		for i := range got {
			require.Contains(t, got[i], c.says[i])
		}
	}
}
