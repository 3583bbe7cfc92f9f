package retention

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func policies() *rapid.Generator[Policy] {
	return rapid.Custom(func(t *rapid.T) Policy {
		number := rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 6))
		zone, err := time.LoadLocation(rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"}).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		return Policy{
			KeepLast: number.Draw(t, "last"), KeepHourly: number.Draw(t, "hourly"), KeepDaily: number.Draw(t, "daily"),
			KeepWeekly: number.Draw(t, "weekly"), KeepMonthly: number.Draw(t, "monthly"), KeepYearly: number.Draw(t, "yearly"),
			MinGood: number.Draw(t, "good"), Zone: zone,
		}
	})
}

func histories() *rapid.Generator[[]Point] {
	return rapid.Custom(func(t *rapid.T) []Point {
		seldom := rapid.Custom(func(t *rapid.T) bool { return rapid.IntRange(0, 9).Draw(t, "of ten") == 0 })
		var out []Point
		for i := range rapid.IntRange(0, 60).Draw(t, "points") {
			// Several can be of one moment, by a selector that was changed.
			hours := rapid.OneOf(rapid.IntRange(0, 48), rapid.IntRange(0, 24*800)).Draw(t, "age")
			p := Point{
				Name:  fmt.Sprintf("p%02d", i),
				Time:  time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC).Add(-time.Duration(hours) * time.Hour),
				State: rapid.SampledFrom([]State{Good, Good, Good, Failed, Failed, Unfinished, Missing, Damaged}).Draw(t, "state"),
			}
			p.Pinned, p.Deleting, p.Foreign = seldom.Draw(t, "pinned"), seldom.Draw(t, "deleting"), seldom.Draw(t, "foreign")
			p.OpenRun = seldom.Draw(t, "open")
			if seldom.Draw(t, "used") {
				p.InUse = []string{"shop/back"}
			}
			out = append(out, p)
		}
		return out
	})
}

// counts tells whether a point is one that retention may count on.
func counts(p Point) bool { return p.State == Good && !p.Deleting && !p.Foreign }

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy, points := policies().Draw(t, "policy"), histories().Draw(t, "points")
		given := slices.Clone(points)
		verdicts := Plan(policy, points)
		removed := Removals(verdicts)
		gone := map[string]bool{}
		for _, p := range removed {
			gone[p.Name] = true
		}

		// Each point is judged once, in words, and nothing given is changed.
		seen := map[string]bool{}
		for _, v := range verdicts {
			if seen[v.Point.Name] || v.Why == "" || v.Keep && gone[v.Point.Name] {
				t.Fatalf("a second verdict, none in words, or one that is not followed: %+v", v)
			}
			seen[v.Point.Name] = true
		}
		if len(verdicts) != len(points) || fmt.Sprint(points) != fmt.Sprint(given) {
			t.Fatalf("%d verdicts on %d points", len(verdicts), len(points))
		}

		// What must stay stays.
		before, after, good := 0, 0, slices.DeleteFunc(slices.Clone(points), func(p Point) bool { return !counts(p) })
		slices.SortFunc(good, func(a, b Point) int { return b.Time.Compare(a.Time) })
		for i, p := range points {
			if gone[p.Name] && (p.Pinned || len(p.InUse) > 0 || p.OpenRun || p.Deleting || p.Foreign || p.State == Unfinished || p.State == Missing || p.State == Damaged) {
				t.Fatalf("%+v must stay", points[i])
			}
			if counts(p) {
				before++
				if !gone[p.Name] {
					after++
				}
			}
		}
		if after < min(before, policy.MinGood) {
			t.Fatalf("%d good ones before, %d after, the minimum is %d", before, after, policy.MinGood)
		}
		last := 0
		for _, v := range verdicts {
			if counts(v.Point) {
				if last++; last <= policy.KeepLast && !v.Keep {
					t.Fatalf("%+v is among the last %d", v, policy.KeepLast)
				}
			}
		}
		checkBuckets(t, policy, good, gone)

		// No failed one outlives a good one that goes.
		for _, p := range points {
			if p.State == Failed && !gone[p.Name] && !p.Pinned && len(p.InUse) == 0 && !p.OpenRun && !p.Deleting && !p.Foreign && slices.ContainsFunc(removed, counts) {
				t.Fatalf("%s failed and stays, good ones go", p.Name)
			}
		}
		if i := slices.IndexFunc(removed, counts); i >= 0 && slices.ContainsFunc(removed[i:], func(p Point) bool { return !counts(p) }) {
			t.Fatalf("failed ones go after good ones: %+v", removed)
		}

		// The order in which points come does not matter.
		shuffled := rapid.Permutation(points).Draw(t, "shuffled")
		if again := Plan(policy, shuffled); fmt.Sprint(again) != fmt.Sprint(verdicts) {
			t.Fatalf("in another order:\n%+v\n%+v", again, verdicts)
		}

		// Nothing more goes the second time, nor when only a part was removed.
		for n := range len(removed) + 1 {
			part := map[string]bool{}
			for _, p := range removed[:n] {
				part[p.Name] = true
			}
			left := slices.DeleteFunc(slices.Clone(points), func(p Point) bool { return part[p.Name] })
			if more := Removals(Plan(policy, left)); fmt.Sprint(more) != fmt.Sprint(removed[n:]) {
				t.Fatalf("after %d of %d removals, what goes is\n%v\nand was\n%v", n, len(removed), more, removed[n:])
			}
		}
	})
}

// checkBuckets goes from the buckets' side: the newest so many hours, days, weeks,
// months and years that have a point each keep their newest.
func checkBuckets(t *rapid.T, policy Policy, good []Point, gone map[string]bool) {
	for _, b := range []struct {
		keep int
		of   func(time.Time) string
	}{
		{policy.KeepHourly, func(at time.Time) string { return at.Format("2006-01-02 15h -0700") }}, // one that comes twice is two
		{policy.KeepDaily, func(at time.Time) string { return at.Format(time.DateOnly) }},
		{policy.KeepWeekly, func(at time.Time) string { year, week := at.ISOWeek(); return fmt.Sprint(year, " week ", week) }},
		{policy.KeepMonthly, func(at time.Time) string { return at.Format("2006-01") }},
		{policy.KeepYearly, func(at time.Time) string { return at.Format("2006") }},
	} {
		newest := map[string]Point{} // bucket -> point
		var buckets []string
		for _, p := range good {
			bucket := b.of(p.Time.In(policy.Zone))
			if former, ok := newest[bucket]; !ok {
				newest[bucket] = p
				buckets = append(buckets, bucket)
			} else if p.Time.Equal(former.Time) && p.Name > former.Name {
				newest[bucket] = p
			}
		}
		for i, bucket := range buckets {
			if i < b.keep && gone[newest[bucket].Name] {
				t.Fatalf("%s is the newest of %s", newest[bucket].Name, bucket)
			}
		}
	}
}
