package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func never() float64 { return 0 }

func TestParseInterval(t *testing.T) {
	for _, c := range []struct {
		in    string
		every time.Duration
		never bool
		fails bool
	}{
		{in: ""},
		{in: "0"},
		{in: "0s"},
		{in: "Never", never: true},
		{in: "1s", every: time.Second},
		{in: "1h30m", every: 90 * time.Minute},
		{in: "1.5h", every: 90 * time.Minute},
		{in: "99999999h", every: longest},
		{in: "99999999999999999999999h", every: longest},
		{in: "-1s", fails: true},
		{in: "-0s", fails: true},
		{in: "300", fails: true},
		{in: "never", fails: true},
		{in: "5 m", fails: true},
		{in: "1ns", fails: true},
	} {
		every, never, err := ParseInterval(c.in)
		require.Equal(t, c.fails, err != nil, c.in)
		require.Equal(t, c.every, every, c.in)
		require.Equal(t, c.never, never, c.in)
	}
}

func TestInterval(t *testing.T) {
	b := DefaultBounds()
	for name, c := range map[string]struct {
		wish Wish
		last Cost
		want time.Duration
		why  Why
	}{
		"unset":                    {want: 5 * time.Minute, why: ByDefault},
		"as asked for":             {wish: Wish{Every: time.Hour}, want: time.Hour, why: Configured},
		"one second":               {wish: Wish{Every: time.Second}, want: time.Minute, why: AtFloor},
		"negative, as nobody asks": {wish: Wish{Every: -time.Second}, want: 5 * time.Minute, why: ByDefault},
		"costly":                   {wish: Wish{Every: time.Minute}, last: Cost{CPU: 4 * time.Second}, want: 400 * time.Second, why: ByCost},
		"costly, but worth it":     {wish: Wish{Every: time.Minute, Cores: 0.5}, last: Cost{CPU: 4 * time.Second}, want: time.Minute, why: Configured},
		"cheap and slow":           {last: Cost{CPU: time.Millisecond, Wall: time.Minute}, want: 10 * time.Minute, why: ByCost},
		"rarely":                   {wish: Wish{Every: longest, Cores: 0.001}, last: Cost{CPU: time.Minute}, want: longest, why: Configured},
		"never":                    {wish: Wish{Never: true}, want: 5 * time.Minute, why: NeverAsked},
	} {
		d, why := b.interval(c.wish, c.last)
		require.Equal(t, c.want, d, name)
		require.Equal(t, c.why, why, name)
	}
}

// run lets one refresh begin and end, and returns the pause that follows.
func run(t *testing.T, p *Pace, now time.Time, c Cost, failed bool) time.Duration {
	t.Helper()
	_, ok := p.Begin(now)
	require.True(t, ok)
	p.End(now, c, failed)
	return p.Next(now).At.Sub(now)
}

func TestFirstRefreshComesAtOnceAndOneAtATime(t *testing.T) {
	p := New(DefaultBounds(), never)
	require.True(t, p.Next(start).Due)
	_, ok := p.Begin(start)
	require.True(t, ok)
	require.True(t, p.Running())
	p.Ask()
	_, ok = p.Begin(start.Add(time.Hour))
	require.False(t, ok, "a second one at the same time")
	p.End(start, Cost{}, false)
	_, ok = p.Begin(start.Add(time.Second))
	require.False(t, ok, "not even when asked for: there is a floor")
	_, ok = p.Begin(start.Add(time.Minute))
	require.True(t, ok, "asked for")
	p.End(start.Add(time.Minute), Cost{}, false)
	_, ok = p.Begin(start.Add(2 * time.Minute))
	require.False(t, ok, "nobody has asked again")
}

func TestAnotherFloorHoldsAtOnce(t *testing.T) {
	b := DefaultBounds()
	p := New(b, never)
	p.Configure(Wish{Every: time.Second})
	require.Equal(t, time.Minute, run(t, p, start, Cost{}, false))
	b.Floor = 10 * time.Minute
	p.Bound(b)
	n := p.Next(start.Add(time.Minute))
	require.False(t, n.Due)
	require.Equal(t, start.Add(10*time.Minute), n.At)
	require.Equal(t, AtFloor, n.Why)
	p.Ask()
	require.False(t, p.Next(start.Add(9*time.Minute)).Due, "not for a person either")
	b.Floor = 30 * time.Second
	p.Bound(b)
	require.True(t, p.Next(start.Add(30*time.Second)).Due)
}

func TestNeverIsOnlyOnAPersonsWord(t *testing.T) {
	p := New(DefaultBounds(), never)
	p.Configure(Wish{Never: true})
	n := p.Next(start)
	require.False(t, n.Due)
	require.True(t, n.At.IsZero())
	p.Ask()
	require.True(t, p.Next(start).Due)
}

func TestJitterOnlyAdds(t *testing.T) {
	p := New(DefaultBounds(), func() float64 { return 1 })
	require.Equal(t, 330*time.Second, run(t, p, start, Cost{}, false))
}

func TestFailuresOpenTheCircuitAndASuccessClosesIt(t *testing.T) {
	p := New(DefaultBounds(), never)
	now := start
	for i, want := range []time.Duration{
		time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, // back-off
		15 * time.Minute, 30 * time.Minute, time.Hour, time.Hour, // open, and trials
	} {
		require.Equal(t, want, run(t, p, now, Cost{}, true), "after failure %d", i+1)
		require.Equal(t, i >= 4, p.Next(now).Circuit == Open, "after failure %d", i+1)
		now = now.Add(want)
	}
	_, ok := p.Begin(now)
	require.True(t, ok)
	require.Equal(t, HalfOpen, p.Next(now).Circuit)
	p.End(now, Cost{}, false)
	require.Equal(t, Closed, p.Next(now).Circuit)
	require.Equal(t, now.Add(5*time.Minute), p.Next(now).At)
}

func TestAHealedTargetIsTriedSoon(t *testing.T) {
	p := New(DefaultBounds(), never)
	now := start
	for range 6 {
		now = now.Add(run(t, p, now, Cost{CPU: time.Second}, true))
	}
	end := p.ended
	p.Heal()
	require.Equal(t, end.Add(100*time.Second), p.Next(end).At, "what its cost asks for is kept")
	run(t, p, end.Add(100*time.Second), Cost{}, false)
	p.Heal()
	require.Equal(t, 5*time.Minute, p.Next(p.ended).At.Sub(p.ended), "nothing was wrong")
}

func TestTheBudgetOfAnHourIsWaitedFor(t *testing.T) {
	p := New(DefaultBounds(), never) // 36 s an hour, 9 s at once
	now := start
	for range 4 {
		p.Ask()
		run(t, p, now, Cost{CPU: 9 * time.Second}, false)
		now = now.Add(time.Minute)
	}
	p.Ask()
	n := p.Next(now)
	require.True(t, n.Budget)
	require.False(t, n.Due)
	require.WithinDuration(t, start.Add(time.Hour), n.At, time.Microsecond, "the first of them counts no more")
	require.Equal(t, 36*time.Second, p.Spent(now))
	_, ok := p.Begin(n.At)
	require.True(t, ok)
}

func TestANewLeaderGoesOnWithThePause(t *testing.T) {
	past := Past{Started: start, Ended: start.Add(time.Second), Last: Cost{CPU: time.Second}, Spent: 30 * time.Second}
	p := New(DefaultBounds(), never)
	p.Configure(Wish{})
	p.Resume(past, start.Add(10*time.Second))
	n := p.Next(start.Add(10 * time.Second))
	require.Equal(t, past.Ended.Add(time.Hour).Add(time.Nanosecond), n.At, "30 s are spent and 9 s would be allowed, of 36")

	p = New(DefaultBounds(), never)
	p.Resume(Past{Started: start, Ended: start.Add(-time.Hour)}, start.Add(10*time.Second))
	require.Equal(t, start.Add(5*time.Minute), p.Next(start.Add(10*time.Second)).At, "a refresh in which its leader died is not begun again at once")
	require.Equal(t, 9*time.Second, p.Spent(start.Add(10*time.Second)), "and may have cost all that it was allowed")

	p = New(DefaultBounds(), never)
	p.Resume(Past{Started: start.Add(100 * time.Hour), Ended: start.Add(100 * time.Hour)}, start)
	require.Equal(t, start.Add(5*time.Minute), p.Next(start).At, "a clock that went wrong delays by one interval")

	p = New(DefaultBounds(), never)
	p.Resume(Past{}, start)
	require.True(t, p.Next(start).Due, "a target that was never looked through")
}

func TestDetector(t *testing.T) {
	d := Detector{Every: time.Minute, Burst: 3}
	now := start
	for range 100 {
		require.True(t, d.Admit(now), "one each minute is right")
		now = now.Add(time.Minute)
	}
	admitted := 0
	for range 1000 {
		if d.Admit(now) {
			admitted++
		}
		now = now.Add(time.Millisecond)
	}
	require.LessOrEqual(t, admitted, 3)
	require.True(t, d.Admit(now.Add(time.Hour)))
}
