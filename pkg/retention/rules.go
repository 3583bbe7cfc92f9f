package retention

import (
	"fmt"
	"time"

	"hayloft.dev/pkg/words"
)

// rule has those of the good points stay that it wants. They come the newest
// first.
type rule func(good []*Verdict)

func (p Policy) rules() []rule {
	var out []rule
	if p.KeepLast > 0 {
		out = append(out, func(good []*Verdict) {
			for _, v := range good[:min(p.KeepLast, len(good))] {
				v.keep(fmt.Sprintf("it is among the last %d", p.KeepLast))
			}
		})
	}
	zone := p.Zone
	if zone == nil {
		zone = time.UTC
	}
	for _, b := range []struct {
		keep int
		unit string
		name func(local time.Time) string
	}{
		// An hour that the clock shows twice is two hours.
		{p.KeepHourly, "hour", func(l time.Time) string { return l.Format("2006-01-02 15h MST") }},
		{p.KeepDaily, "day", func(l time.Time) string { return l.Format("2006-01-02") }},
		{p.KeepWeekly, "week", func(l time.Time) string {
			year, week := l.ISOWeek()
			return fmt.Sprintf("week %d of %d", week, year)
		}},
		{p.KeepMonthly, "month", func(l time.Time) string { return l.Format("January 2006") }},
		{p.KeepYearly, "year", func(l time.Time) string { return l.Format("2006") }},
	} {
		if b.keep <= 0 {
			continue
		}
		out = append(out, func(good []*Verdict) {
			kept, former := 0, ""
			for _, v := range good {
				name := b.name(v.Point.Time.In(zone))
				if name == former {
					continue
				}
				if kept++; kept > b.keep {
					return
				}
				v.keep(fmt.Sprintf("it is the newest of %s, and %s", name, kindsKept(b.keep, b.unit)))
				former = name
			}
		})
	}
	return out
}

func kindsKept(n int, unit string) string {
	return fmt.Sprintf("%s %s kept", words.Count(n, unit), words.Verb(n, "is", "are"))
}
