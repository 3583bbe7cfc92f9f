package refresh

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// done is one refresh of a simulation.
type done struct {
	begin, end time.Time
	cpu        time.Duration
}

// TestNoHourCostsMoreThanAllowed lets a target behave in any way (cheap, costly,
// slow, failing, healing), people ask, and coordinators die and be replaced, at
// random, over many hours. Whatever hour is looked at, it costs no more than the
// share that is allowed; and nothing ever comes sooner than the floor, nor twice
// at the same time, nor is waited for forever.
func TestNoHourCostsMoreThanAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := DefaultBounds()
		b.Floor = time.Duration(rapid.Int64Range(1, 120).Draw(t, "floor")) * time.Second
		wish := Wish{
			Every: time.Duration(rapid.SampledFrom([]int64{-5, 0, 0, 1, 60, 300, 3600, 1 << 40}).Draw(t, "every")) * time.Second,
			Cores: rapid.SampledFrom([]float64{0, 0.001, 0.01, 0.1, 1}).Draw(t, "cores"),
		}
		chance := func() float64 { return rapid.Float64Range(0, 1).Draw(t, "chance") }
		now := start
		p := New(b, chance)
		p.Configure(wish)
		var past Past
		var all []done
		var steps []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				p.Ask()
			case 1:
				p.Heal()
			case 2: // another leader, with what the last one has written down
				p = New(b, chance)
				p.Configure(wish)
				p.Resume(past, now)
			case 3:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "idle")))
			default:
				n := p.Next(now)
				if wait := n.At.Sub(now); wait > 2*longest {
					t.Fatalf("the next refresh is %s away", wait)
				}
				if n.At.After(now) && n.At.Sub(now) < 24*time.Hour {
					if _, ok := p.Begin(n.At.Add(-1)); ok {
						t.Fatal("a refresh began before its time")
					}
					now = n.At
				}
			}
			allowance, ok := p.Begin(now)
			if !ok {
				continue
			}
			past.Started, past.Spent = now, p.Spent(now)
			end := now.Add(time.Duration(rapid.Int64Range(0, int64(b.Deadline)).Draw(t, "wall")))
			cost := Cost{CPU: time.Duration(rapid.Int64Range(0, int64(allowance)).Draw(t, "cpu")), Wall: end.Sub(now)}
			cost.Beside = time.Duration(rapid.Int64Range(0, int64(allowance-cost.CPU)).Draw(t, "beside"))
			all = append(all, done{now, end, cost.CPU + cost.Beside})
			steps = append(steps, now, end)
			if rapid.IntRange(0, 9).Draw(t, "killed") == 0 {
				now = end
				p = New(b, chance)
				p.Configure(wish)
				p.Resume(past, now)
				continue
			}
			p.End(end, cost, rapid.Bool().Draw(t, "failed"))
			now = end
			past = Past{Started: past.Started, Ended: end, Last: cost, Spent: p.Spent(end), Failures: p.Failures()}
		}
		for i := 1; i < len(all); i++ {
			if gap := all[i].begin.Sub(all[i-1].begin); gap < b.Floor {
				t.Fatalf("refreshes %d and %d began %s apart", i-1, i, gap)
			}
			if all[i].begin.Before(all[i-1].end) {
				t.Fatalf("refreshes %d and %d ran at the same time", i-1, i)
			}
		}
		// The worst hour begins or ends where a refresh does.
		for _, from := range steps {
			for _, from := range []time.Time{from, from.Add(-time.Hour)} {
				to := from.Add(time.Hour)
				var spent time.Duration
				for _, d := range all {
					if !d.end.Before(from) && !d.begin.After(to) {
						spent += d.cpu
					}
				}
				if spent > wish.budget() {
					t.Fatalf("the hour from %s costs %s of CPU, and %s are allowed", from, spent, wish.budget())
				}
			}
		}
	})
}

// TestWithoutTroubleTheIntervalIsKept: nobody asks and nothing fails.
func TestWithoutTroubleTheIntervalIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := DefaultBounds()
		wish := Wish{Every: time.Duration(rapid.Int64Range(0, 7200).Draw(t, "every")) * time.Second}
		p := New(b, func() float64 { return rapid.Float64Range(0, 1).Draw(t, "chance") })
		p.Configure(wish)
		now := start
		for range 50 {
			n := p.Next(now)
			if !n.Due {
				now = n.At
			}
			if _, ok := p.Begin(now); !ok {
				t.Fatalf("it is %s, and the refresh of %s does not begin", now, n.At)
			}
			cost := Cost{CPU: time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "cpu"))}
			p.End(now, cost, false)
			interval, _ := b.interval(wish, cost)
			wait := p.Next(now).At.Sub(now)
			if wait < interval || !p.Next(now).Budget && wait > interval+interval/10 {
				t.Fatalf("a pause of %s where the interval is %s", wait, interval)
			}
		}
	})
}
