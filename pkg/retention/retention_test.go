package retention

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func at(s string) time.Time {
	when, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return when
}

// daily are n good points, one at each 2:00, the last one on 2026-06-30.
func daily(n int) []Point {
	var out []Point
	for i := range n {
		when := at("2026-06-30 02:00").AddDate(0, 0, -i)
		out = append(out, Point{Name: when.Format("0102"), Time: when, State: Good})
	}
	return out
}

// changed are the points with one of them changed.
func changed(points []Point, name string, change func(*Point)) []Point {
	for i := range points {
		if points[i].Name == name {
			change(&points[i])
			return points
		}
	}
	panic("no point " + name)
}

func failed(p *Point)  { p.State = Failed }
func pinned(p *Point)  { p.Pinned = true }
func foreign(p *Point) { p.Foreign = true }
func inUse(p *Point)   { p.InUse = []string{"shop/back"} }
func inRun(p *Point)   { p.OpenRun = true }
func missing(p *Point) { p.State = Missing }
func going(p *Point)   { p.Deleting = true }
func making(p *Point)  { p.State = Unfinished }

func names(points []Point) string {
	var out []string
	for _, p := range points {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

func TestPlan(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		policy Policy
		points []Point
		goes   string            // in the order of removal
		why    map[string]string // name -> a part of it
	}{
		{name: "nothing", policy: Policy{KeepLast: 2}},
		{name: "no more than are kept", policy: Policy{KeepLast: 3}, points: daily(3), why: map[string]string{"0628": "it is among the last 3"}},
		{name: "the oldest beyond", policy: Policy{KeepLast: 3}, points: daily(5), goes: "0626 0627", why: map[string]string{"0627": "no rule wants it any more"}},
		{name: "no rule at all", points: daily(5), why: map[string]string{"0626": "no rule says what is to go"}},

		{name: "pinned", policy: Policy{KeepLast: 2}, points: changed(daily(4), "0627", pinned), goes: "0628", why: map[string]string{"0627": "it is pinned"}},
		{name: "pinned and among the last", policy: Policy{KeepLast: 2}, points: changed(daily(3), "0630", pinned), goes: "0628", why: map[string]string{"0630": "it is among the last 2; it is pinned"}},
		{name: "in use", policy: Policy{KeepLast: 2}, points: changed(daily(4), "0627", inUse), goes: "0628", why: map[string]string{"0627": "restore shop/back reads it"}},
		{name: "in use by two", policy: Policy{KeepLast: 2}, points: changed(daily(3), "0628", func(p *Point) { p.InUse = []string{"shop/a", "lab/b"} }), why: map[string]string{"0628": "restores shop/a, lab/b read it"}},
		{name: "of a run that goes on", policy: Policy{KeepLast: 2}, points: changed(daily(4), "0627", inRun), goes: "0628", why: map[string]string{"0627": "the run that made it has not ended"}},
		{name: "failed in a run that goes on", policy: Policy{KeepLast: 8}, points: changed(changed(daily(4), "0628", failed), "0628", inRun), why: map[string]string{"0628": "the run that made it has not ended"}},
		{name: "of another cluster", policy: Policy{KeepLast: 2}, points: changed(daily(4), "0630", foreign), goes: "0627", why: map[string]string{"0630": "another cluster or schedule made it"}},
		{name: "missing ones do not count", policy: Policy{KeepLast: 2}, points: changed(daily(4), "0630", missing), goes: "0627", why: map[string]string{"0630": "it is not seen on its target at present"}},
		{name: "going ones do not count", policy: Policy{KeepLast: 2}, points: changed(daily(4), "0630", going), goes: "0627", why: map[string]string{"0630": "it is being deleted already"}},
		{name: "unfinished ones do not count", policy: Policy{KeepLast: 2}, points: changed(daily(4), "0630", making), goes: "0627", why: map[string]string{"0630": "it is not finished"}},

		{name: "failed, and a later one is good", policy: Policy{KeepLast: 8}, points: changed(daily(4), "0628", failed), goes: "0628", why: map[string]string{"0628": "it failed, and a later one is good"}},
		{name: "failed last", policy: Policy{KeepLast: 8}, points: changed(daily(4), "0630", failed), why: map[string]string{"0630": "it failed, and no later one is good"}},
		{name: "failed ones do not count", policy: Policy{KeepLast: 3}, points: changed(changed(daily(5), "0630", failed), "0629", failed)},
		{name: "failed ones go before good ones", policy: Policy{KeepLast: 2}, points: changed(daily(5), "0630", failed), goes: "0630 0626 0627", why: map[string]string{"0630": "it failed, and goes before any good one"}},
		{name: "failed and pinned", policy: Policy{KeepLast: 2}, points: changed(changed(daily(4), "0627", failed), "0627", pinned), goes: "0628", why: map[string]string{"0627": "it is pinned"}},
		{name: "nothing but failed ones", policy: Policy{KeepLast: 2}, points: changed(changed(changed(daily(3), "0630", failed), "0629", failed), "0628", failed), goes: "0628", why: map[string]string{"0628": "it failed, as did 2 later ones"}},

		{name: "never below the minimum", policy: Policy{KeepMonthly: 1, MinGood: 3}, points: daily(5), goes: "0626 0627", why: map[string]string{"0628": "at least 3 good points must stay"}},
		{name: "the minimum counts good ones", policy: Policy{KeepMonthly: 1, MinGood: 2}, points: changed(changed(daily(5), "0630", failed), "0629", missing), goes: "0630 0626", why: map[string]string{"0627": "at least 2 good points must stay"}},
		{name: "the minimum counts pinned ones", policy: Policy{KeepMonthly: 1, MinGood: 2}, points: changed(daily(5), "0627", pinned), goes: "0626 0628 0629"},

		{
			name: "days", policy: Policy{KeepDaily: 3}, points: append(daily(5), Point{Name: "noon", Time: at("2026-06-29 12:00"), State: Good}), goes: "0626 0627 0629",
			why: map[string]string{"noon": "it is the newest of 2026-06-29, and 3 days are kept"},
		},
		{name: "days that have none do not count", policy: Policy{KeepDaily: 2}, points: []Point{{Name: "a", Time: at("2026-06-01 02:00"), State: Good}, {Name: "b", Time: at("2026-06-20 02:00"), State: Good}, {Name: "c", Time: at("2026-06-30 02:00"), State: Good}}, goes: "a"},
		{
			name: "weeks begin on Monday", policy: Policy{KeepWeekly: 2}, points: daily(16), goes: "0615 0616 0617 0618 0619 0620 0621 0622 0623 0624 0625 0626 0627 0629",
			why: map[string]string{"0628": "it is the newest of week 26 of 2026, and 2 weeks are kept"},
		},
		{
			name: "months and years", policy: Policy{KeepMonthly: 2, KeepYearly: 1}, points: daily(35), why: map[string]string{"0630": "it is the newest of June 2026, and 2 months are kept; it is the newest of 2026, and 1 year is kept", "0531": "it is the newest of May 2026"},
			goes: "0527 0528 0529 0530 " + names(func() []Point { p := daily(30)[1:]; reverse(p); return p }()),
		},
		{name: "days in the zone", policy: Policy{KeepDaily: 1, Zone: berlin}, points: []Point{{Name: "late", Time: at("2026-06-28 21:30"), State: Good}, {Name: "next day there", Time: at("2026-06-28 22:30"), State: Good}, {Name: "day", Time: at("2026-06-29 10:00"), State: Good}}, goes: "late next day there"},
		{
			name: "an hour that comes twice is two", policy: Policy{KeepHourly: 2, Zone: berlin}, points: []Point{{Name: "summer", Time: at("2026-10-25 00:30"), State: Good}, {Name: "winter", Time: at("2026-10-25 01:30"), State: Good}},
			why: map[string]string{"summer": "it is the newest of 2026-10-25 02h CEST, and 2 hours are kept", "winter": "2026-10-25 02h CET"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			verdicts := Plan(c.policy, c.points)
			require.Equal(t, c.goes, names(Removals(verdicts)))
			require.Len(t, verdicts, len(c.points))
			for _, v := range verdicts {
				require.NotEmpty(t, v.Why)
				require.Contains(t, v.Why, c.why[v.Point.Name], v.Point.Name)
			}
		})
	}
}

func reverse(p []Point) {
	for i, j := 0, len(p)-1; i < j; i, j = i+1, j-1 {
		p[i], p[j] = p[j], p[i]
	}
}

func TestForecast(t *testing.T) {
	var runs []time.Time
	for i := range 40 {
		runs = append(runs, at("2026-07-01 02:00").AddDate(0, 0, i))
	}
	name := func(at time.Time) string { return at.Format("0102") }
	p := Policy{KeepLast: 3, KeepWeekly: 2, KeepMonthly: 2, MinGood: 1}
	var stays []Point
	for _, v := range Forecast(p, changed(daily(4), "0628", pinned), runs, name) {
		require.True(t, v.Keep)
		stays = append(stays, v.Point)
	}
	// 2026-08-09 is a Sunday: the newest of its week, month and of the last ones.
	require.Equal(t, "0809 0808 0807 0802 0731 0628", names(stays))
	require.Equal(t, 7, p.Most())
	require.Equal(t, 250, Policy{KeepLast: 2, MinGood: 250}.Most())
	require.Empty(t, Forecast(p, nil, nil, name))
}

func ExamplePlan() {
	points := []Point{
		{Name: "monday", Time: at("2026-06-29 02:00"), State: Good},
		{Name: "tuesday", Time: at("2026-06-30 02:00"), State: Failed},
		{Name: "wednesday", Time: at("2026-07-01 02:00"), State: Good},
	}
	for _, v := range Plan(Policy{KeepLast: 1, KeepMonthly: 2}, points) {
		fmt.Printf("%s: %t, %s\n", v.Point.Name, v.Keep, v.Why)
	}
	// Output:
	// wednesday: true, it is among the last 1; it is the newest of July 2026, and 2 months are kept
	// tuesday: false, it failed, and a later one is good
	// monday: true, it is the newest of June 2026, and 2 months are kept
}
