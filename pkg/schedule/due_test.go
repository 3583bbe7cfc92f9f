package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDue(t *testing.T) {
	const hour = time.Hour
	type want struct {
		run, last, next string
		catchUp         bool
		missed          int64
		ahead           time.Duration
	}
	for _, c := range []struct {
		name, cron string
		last       string
		since      string
		now        string
		late       Lateness
		want       want
	}{
		{
			name: "nothing yet", cron: "0 2 * * *", since: "2026-05-01T10:00:00Z", now: "2026-05-01T12:00:00Z",
			want: want{next: "2026-05-02T02:00:00Z"},
		},
		{
			name: "the first run", cron: "0 2 * * *", since: "2026-05-01T10:00:00Z", now: "2026-05-02T02:00:00Z",
			want: want{run: "2026-05-02T02:00:00Z", last: "2026-05-02T02:00:00Z", next: "2026-05-03T02:00:00Z"},
		},
		{
			name: "a little late", cron: "0 2 * * *", last: "2026-05-01T02:00:00Z", now: "2026-05-02T02:00:59Z",
			want: want{run: "2026-05-02T02:00:00Z", last: "2026-05-02T02:00:00Z", next: "2026-05-03T02:00:00Z"},
		},
		{
			name: "dealt with", cron: "0 2 * * *", last: "2026-05-02T02:00:00Z", now: "2026-05-02T02:00:01Z",
			want: want{last: "2026-05-02T02:00:00Z", next: "2026-05-03T02:00:00Z"},
		},
		{
			name: "down for an hour", cron: "0 2 * * *", last: "2026-05-01T02:00:00Z", now: "2026-05-02T03:00:00Z",
			want: want{run: "2026-05-02T02:00:00Z", last: "2026-05-02T02:00:00Z", next: "2026-05-03T02:00:00Z", catchUp: true},
		},
		{
			name: "down for a week: one run", cron: "0 2 * * *", last: "2026-05-01T02:00:00Z", now: "2026-05-08T12:00:00Z",
			want: want{run: "2026-05-08T02:00:00Z", last: "2026-05-08T02:00:00Z", next: "2026-05-09T02:00:00Z", catchUp: true, missed: 6},
		},
		{
			name: "back just when a run is due", cron: "0 2 * * *", last: "2026-05-01T02:00:00Z", now: "2026-05-08T02:00:00Z",
			want: want{run: "2026-05-08T02:00:00Z", last: "2026-05-08T02:00:00Z", next: "2026-05-09T02:00:00Z", missed: 6},
		},
		{
			name: "beyond the deadline", cron: "0 2 * * *", last: "2026-05-01T02:00:00Z", now: "2026-05-08T12:00:00Z", late: Lateness{Deadline: 9 * hour},
			want: want{last: "2026-05-08T02:00:00Z", next: "2026-05-09T02:00:00Z", missed: 7},
		},
		{
			name: "just within the deadline", cron: "0 2 * * *", last: "2026-05-01T02:00:00Z", now: "2026-05-08T12:00:00Z", late: Lateness{Deadline: 10 * hour},
			want: want{run: "2026-05-08T02:00:00Z", last: "2026-05-08T02:00:00Z", next: "2026-05-09T02:00:00Z", catchUp: true, missed: 6},
		},
		{
			name: "a new timetable runs nothing that was before it", cron: "0 14 * * *", last: "2026-05-02T02:00:00Z", since: "2026-05-02T15:00:00Z", now: "2026-05-02T15:00:01Z",
			want: want{last: "2026-05-02T02:00:00Z", next: "2026-05-03T14:00:00Z"},
		},
		{
			name: "the clock was set back", cron: "0 * * * *", last: "2026-05-02T12:00:00Z", now: "2026-05-02T09:30:00Z",
			want: want{last: "2026-05-02T12:00:00Z", next: "2026-05-02T13:00:00Z", ahead: 150 * time.Minute},
		},
		{
			name: "no past at all", cron: "0 * * * *", now: "2026-05-02T09:30:00Z",
			want: want{next: "2026-05-02T10:00:00Z"},
		},

		{
			name: "seconds: the newest only", cron: "@every 1s", last: "2026-05-02T09:00:00Z", now: "2026-05-02T09:00:05.5Z",
			want: want{run: "2026-05-02T09:00:05Z", last: "2026-05-02T09:00:05Z", next: "2026-05-02T09:00:06Z", missed: 4},
		},
		{
			name: "seconds: each of them", cron: "@every 1s", last: "2026-05-02T09:00:00Z", now: "2026-05-02T09:00:05.5Z", late: Lateness{Each: time.Minute},
			want: want{run: "2026-05-02T09:00:01Z", last: "2026-05-02T09:00:01Z", next: "2026-05-02T09:00:02Z"},
		},
		{
			name: "seconds: each that is not too late", cron: "@every 1s", last: "2026-05-02T09:00:00Z", now: "2026-05-02T09:00:05.5Z", late: Lateness{Each: time.Minute, Deadline: 2 * time.Second},
			want: want{run: "2026-05-02T09:00:04Z", last: "2026-05-02T09:00:04Z", next: "2026-05-02T09:00:05Z", missed: 3},
		},
		{
			name: "each changes nothing for hours", cron: "0 * * * *", last: "2026-05-01T02:00:00Z", now: "2026-05-02T03:00:10Z", late: Lateness{Each: time.Minute},
			want: want{run: "2026-05-02T03:00:00Z", last: "2026-05-02T03:00:00Z", next: "2026-05-02T04:00:00Z", missed: 24},
		},
		{
			name: "nor for one that catches up", cron: "0 * * * *", last: "2026-05-01T02:00:00Z", now: "2026-05-02T03:30:10Z", late: Lateness{Each: time.Minute},
			want: want{run: "2026-05-02T03:00:00Z", last: "2026-05-02T03:00:00Z", next: "2026-05-02T04:00:00Z", missed: 24, catchUp: true},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			when := func(s string) time.Time {
				if s == "" {
					return time.Time{}
				}
				return at(s)
			}
			got := parsed(t, c.cron, "UTC").Due(Past{Last: when(c.last), Since: when(c.since)}, at(c.now), c.late)
			require.Equal(t, Decision{
				Run: when(c.want.run), CatchUp: c.want.catchUp, Missed: c.want.missed, Last: when(c.want.last),
				Next: when(c.want.next), Ahead: c.want.ahead,
			}, got)
		})
	}
}

// TestDueAccounts lets schedules live through downtimes and clocks that are set
// wrong: every nominal time is run or counted as missed, none twice, and of what
// passed while nobody looked at most one is run.
func TestDueAccounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cron := rapid.SampledFrom([]string{"0 2 * * *", "*/5 * * * *", "30 * * * *", "30 2 * * *", "@every 1s", "@every 90m", "0 3 * * 0"}).Draw(t, "cron")
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe"}).Draw(t, "zone")
		start := at("2026-03-20T00:00:00Z").Add(time.Duration(rapid.IntRange(0, 300*24*3600).Draw(t, "start")) * time.Second)
		table, err := Parse(cron, zone, start)
		if err != nil {
			t.Fatal(err)
		}
		late := Lateness{
			Deadline: time.Duration(rapid.IntRange(0, 3).Draw(t, "deadline")) * 20 * time.Minute,
			Each:     time.Duration(rapid.IntRange(0, 1).Draw(t, "each")) * 30 * time.Second,
		}
		past := Past{Since: start}
		var made, missed int64
		before := map[time.Time]bool{}
		now := start
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0: // downtime
				now = now.Add(time.Duration(rapid.IntRange(0, 40*3600).Draw(t, "down")) * time.Second)
			case 1: // the clock is set back
				now = now.Add(-time.Duration(rapid.IntRange(0, 5*3600).Draw(t, "back")) * time.Second)
			case 2:
				now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			default: // at the time that was said
				if next := table.Next(later(past.Last, past.Since)); next.After(now) {
					now = next
				}
			}
			d := table.Due(past, now, late)
			switch {
			case d.Last.Before(past.Last):
				t.Fatalf("went back from %s to %s", past.Last, d.Last)
			case !d.Run.IsZero() && before[d.Run]:
				t.Fatalf("%s is run twice", d.Run)
			case !d.Run.IsZero() && (!d.Run.Equal(d.Last) || d.Run.After(now)):
				t.Fatalf("%s is run at %s, recorded is %s", d.Run, now, d.Last)
			case !d.Run.IsZero() && late.Deadline > 0 && now.Sub(d.Run) > late.Deadline:
				t.Fatalf("%s is run at %s", d.Run, now)
			case late.Each == 0 && !d.Next.After(now):
				t.Fatalf("to look again at %s, now is %s", d.Next, now)
			case !d.Next.After(d.Last):
				t.Fatalf("next is %s, which is dealt with", d.Next)
			}
			if !d.Run.IsZero() {
				before[d.Run] = true
				made++
			}
			missed += d.Missed
			past.Last = d.Last
		}
		if !past.Last.IsZero() {
			if all := table.Count(start, past.Last); made+missed != all {
				t.Fatalf("%d made and %d missed of %d", made, missed, all)
			}
		}
	})
}
