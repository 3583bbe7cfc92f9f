package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLongestPause(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for _, c := range []struct {
		cron, zone, from string
		want             time.Duration
	}{
		{"0 2 * * *", "UTC", "2026-11-27T10:00:00Z", day},
		{"0 2 1-31 1-12 0-6", "UTC", "2026-11-27T10:00:00Z", day},
		{"0 2 * * *", "Europe/Berlin", "2026-11-27T10:00:00Z", 25 * hour},
		{"30 9,17 * * *", "UTC", "2026-11-27T10:00:00Z", 16 * hour},
		{"30 9,17 * * *", "Europe/Berlin", "2026-11-27T10:00:00Z", 17 * hour},
		{"* 2 * * *", "UTC", "2026-11-27T10:00:00Z", 23*hour + time.Minute},
		{"* * * * *", "UTC", "2026-11-27T10:00:00Z", time.Minute},
		{"*/15 * * * *", "Europe/Berlin", "2026-11-27T10:00:00Z", 15 * time.Minute},
		{"0 * * * *", "Australia/Lord_Howe", "2026-11-27T10:00:00Z", 90 * time.Minute}, // the minute hand goes back by 30
		{"0 2 * * 1-5", "UTC", "2026-11-27T10:00:00Z", 3 * day},
		{"0 2 * * 0", "UTC", "2026-11-27T10:00:00Z", 7 * day},
		{"0 2 1 * *", "UTC", "2026-11-27T10:00:00Z", 31 * day},
		{"0 2 29 2 *", "UTC", "2026-11-27T10:00:00Z", (4*365 + 1) * day},
		{"@every 90m", "UTC", "2026-11-27T10:00:00Z", 90 * time.Minute},
		{"@daily", "UTC", "2026-11-27T10:00:00Z", day},
	} {
		require.Equal(t, c.want, parsed(t, c.cron, c.zone).LongestPause(at(c.from)), "%s in %s", c.cron, c.zone)
	}
}

// TestLongestPauseIsThatOfAYear goes through all pauses of a year.
func TestLongestPauseIsThatOfAYear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cron := rapid.SampledFrom([]string{
			"0 2 * * *", "30 2 * * *", "0 0 * * *", "59 23 * * *", "30 1,2,3 * * *", "15 */6 * * *", "0 9-17 * * *", "45 * * * *", "*/20 2,3 * * *",
		}).Draw(t, "cron")
		zone := rapid.SampledFrom([]string{
			"UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca", "Africa/Cairo", "Asia/Kathmandu",
		}).Draw(t, "zone")
		from := at("2025-01-01T00:00:00Z").Add(time.Duration(rapid.IntRange(0, 15*366*24*60).Draw(t, "from")) * time.Minute)
		table, err := Parse(cron, zone, from)
		if err != nil {
			t.Fatal(err)
		}
		longest, former := time.Duration(0), table.Next(from)
		for !former.After(from.Add(year)) {
			next := table.Next(former)
			longest, former = max(longest, next.Sub(former)), next
		}
		if got := table.LongestPause(from); got != longest {
			t.Fatalf("%s in %s from %s: %s, want %s", cron, zone, from, got, longest)
		}
	})
}
