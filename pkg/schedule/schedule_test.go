package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func parsed(t testing.TB, cron, zone string) Timetable {
	t.Helper()
	table, err := Parse(cron, zone, at("2026-01-01T00:00:00Z"))
	require.NoError(t, err)
	return table
}

func at(s string) time.Time {
	when, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return when
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ cron, zone, says string }{
		{"", "UTC", `spec.cron "" is not a schedule`},
		{"nightly", "UTC", `spec.cron "nightly" is not a schedule`},
		{"0 2 * *", "UTC", "expected exactly 5 fields, found 4"},
		{"0 0 2 * * *", "UTC", "expected exactly 5 fields, found 6"},
		{"60 2 * * *", "UTC", "above maximum (59)"},
		{"0 24 * * *", "UTC", "above maximum (23)"},
		{"0 2 0 * *", "UTC", "below minimum (1)"},
		{"0 2 * 13 *", "UTC", "above maximum (12)"},
		{"0 2 * * 7", "UTC", "above maximum (6)"},
		{"0 2 * * 5-1", "UTC", "beyond end of range"},
		{"0 */0 * * *", "UTC", "step of range should be a positive number"},
		{"-1 2 * * *", "UTC", "failed to parse int"},
		{"*-5 2 * * *", "UTC", "a range begins with a number or a name"},
		{"TZ=Europe/Berlin 0 2 * * *", "UTC", "the zone does not belong here but in spec.timeZone"},
		{"CRON_TZ=nowhere", "UTC", "the zone does not belong here but in spec.timeZone"},
		{"TZ=", "UTC", "the zone does not belong here but in spec.timeZone"},
		{"@often", "UTC", `spec.cron "@often" is not a schedule`},
		{"@every", "UTC", "after @every write a duration of whole seconds between 1s and 8784h"},
		{"@every soon", "UTC", "after @every write a duration"},
		{"@every 0s", "UTC", "after @every write a duration"},
		{"@every -1h", "UTC", "after @every write a duration"},
		{"@every 1500ms", "UTC", "after @every write a duration"},
		{"@every 9000h", "UTC", "after @every write a duration"},
		{"0 2 30 2 *", "UTC", `spec.cron "0 2 30 2 *" never comes`},
		{"0 2 31 4,6,9,11 *", "UTC", "never comes: name a day that a month has"},
		{", 2 * * *", "UTC", "at least one value in each field"},
		{"0 2 * * *", "Europe/Atlantis", `spec.timeZone "Europe/Atlantis" is not a time zone`},
		{"0 2 * * *", "Local", `spec.timeZone "Local" is not a time zone`},
		{"0 2 * * *", "../../etc/passwd", "is not a time zone"},
		{"0 2 * * *", "CEST", "is not a time zone: name one as in the IANA database"},
	} {
		_, err := Parse(c.cron, c.zone, time.Time{})
		require.ErrorContains(t, err, c.says, "%q in %q", c.cron, c.zone)
	}
}

func TestNext(t *testing.T) {
	for _, c := range []struct{ name, cron, zone, after, next string }{
		{"strictly after", "0 2 * * *", "UTC", "2026-03-01T02:00:00Z", "2026-03-02T02:00:00Z"},
		{"a part of a second before", "0 2 * * *", "UTC", "2026-03-01T01:59:59.999Z", "2026-03-01T02:00:00Z"},
		{"the zone's own time", "0 2 * * *", "Asia/Kolkata", "2026-03-01T00:00:00Z", "2026-03-01T20:30:00Z"},
		{"no zone is UTC", "0 2 * * *", "", "2026-03-01T00:00:00Z", "2026-03-01T02:00:00Z"},
		{"spaces around", "  @daily ", "UTC", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"},
		{"names", "0 2 * dec mon", "UTC", "2026-03-01T00:00:00Z", "2026-12-07T02:00:00Z"},

		{"jumped over: the first instant after", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"and the next one is on its own time", "30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		{"jumped over together with one that is there", "0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"which runs once", "0 2,3 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		{"shown twice: the first time", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"and not again", "30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"asked for in the repeated hour", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:15:00Z", "2026-10-26T01:30:00Z"},
		{"hourly goes on in the repeated hour", "30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
		{"hourly has no run in the hour that is left out", "30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"},

		{"half an hour forward, by the hour", "15 * * * *", "Australia/Lord_Howe", "2026-10-03T15:00:00Z", "2026-10-03T15:30:00Z"},
		{"half an hour back, by the hour", "45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:45:00Z", "2026-04-04T16:15:00Z"},
		{"half an hour forward, by the day", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-03T15:30:00Z"},

		{"the last day of a leap year, far ahead", "0 12 * * *", "America/New_York", "2040-12-30T18:00:00Z", "2040-12-31T17:00:00Z"},
		{"and from there on", "0 12 * * *", "America/New_York", "2040-12-31T17:00:00Z", "2041-01-01T17:00:00Z"},
		{"where it is summer then", "0 12 * * *", "Australia/Lord_Howe", "2040-12-31T02:00:00Z", "2041-01-01T01:00:00Z"},
		{"leap years", "0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"every: from the anchor", "@every 7h", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T07:00:00Z"},
		{"every: long after", "@every 7h", "UTC", "2026-01-10T00:00:00Z", "2026-01-10T01:00:00Z"},
		{"every: not before its first", "@every 7h", "UTC", "2025-01-01T00:00:00Z", "2026-01-01T07:00:00Z"},
		{"every second", "@every 1s", "UTC", "2026-01-10T00:00:00.5Z", "2026-01-10T00:00:01Z"},
		{"every does not know the clock", "@every 24h", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parsed(t, c.cron, c.zone).Next(at(c.after))
			require.Equal(t, c.next, got.Format(time.RFC3339), "in the zone: %s", got.In(parsed(t, c.cron, c.zone).Location()))
		})
	}
}

func TestLast(t *testing.T) {
	for _, c := range []struct{ name, cron, zone, until, last string }{
		{"itself", "0 2 * * *", "UTC", "2026-03-01T02:00:00Z", "2026-03-01T02:00:00Z"},
		{"the day before", "0 2 * * *", "UTC", "2026-03-01T01:59:59Z", "2026-02-28T02:00:00Z"},
		{"years before", "0 0 29 2 *", "UTC", "2031-12-31T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"shown twice", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:45:00Z", "2026-10-25T00:30:00Z"},
		{"jumped over", "30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
		{"every", "@every 7h", "UTC", "2026-01-01T20:59:59Z", "2026-01-01T14:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.last, parsed(t, c.cron, c.zone).Last(at(c.until)).Format(time.RFC3339))
		})
	}
	require.Zero(t, parsed(t, "@every 7h", "UTC").Last(at("2026-01-01T06:59:59Z")), "before its first")
}

func TestEveryWithoutAnchorIsStable(t *testing.T) {
	table, err := Parse("@every 5h", "UTC", time.Time{})
	require.NoError(t, err)
	next := table.Next(at("2026-01-01T00:00:00Z"))
	require.Zero(t, next.Unix()%int64((5*time.Hour).Seconds()))
}

func TestJitter(t *testing.T) {
	require.Zero(t, Jitter(0, "a"))
	require.Zero(t, Jitter(-time.Second, "a"))
	require.Equal(t, Jitter(time.Hour, "uid", "vm"), Jitter(time.Hour, "uid", "vm"))
	require.NotEqual(t, Jitter(time.Hour, "ab", "c"), Jitter(time.Hour, "a", "bc"))
	var sum time.Duration
	const n = 2000
	for i := range n {
		j := Jitter(time.Minute, "uid", time.Unix(int64(i), 0).String())
		require.GreaterOrEqual(t, j, time.Duration(0))
		require.Less(t, j, time.Minute)
		require.Zero(t, j%time.Second)
		sum += j
	}
	require.InDelta(t, 29.5, (sum / n).Seconds(), 2, "spread evenly")
}

func TestKeysAreThoseOfEqualTimes(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	key := func(expression, zone string, anchor time.Time) string {
		out, err := Parse(expression, zone, anchor)
		require.NoError(t, err)
		return out.Key()
	}
	require.Equal(t, key("0 2 * * *", "", at), key(" 0 2 * * * ", "UTC", at.Add(time.Hour)))
	require.NotEqual(t, key("0 2 * * *", "UTC", at), key("0 2 * * *", "Europe/Berlin", at))
	require.NotEqual(t, key("0 2 * * *", "UTC", at), key("0 3 * * *", "UTC", at))
	require.Equal(t, key("@every 6h", "UTC", at), key("@every 6h", "UTC", at))
	require.NotEqual(t, key("@every 6h", "UTC", at), key("@every 6h", "UTC", at.Add(time.Hour)), "it counts from another moment")
}
