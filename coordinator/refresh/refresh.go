// Package refresh decides when a backup target is looked through for points, and
// at what cost: never sooner than its interval, the floor and what the last look
// has cost allow, one at a time, and never for more CPU time in any hour than
// the target may take, whatever the target does.
//
// It is pure: it starts nothing and reads no clock. Whoever does says when what
// began and ended, and what it cost. What is on a target is not its business.
package refresh

import (
	"fmt"
	"math"
	"time"
)

// Bounds hold for every target.
type Bounds struct {
	// Default is the interval of a target that names none, or 0.
	Default time.Duration
	// Floor is the shortest time from the end of one refresh to the beginning of
	// the next, whoever asks for it.
	Floor time.Duration
	// Deadline ends a refresh.
	Deadline time.Duration
	// WallShare is the largest share of the time in which a refresh may run, so
	// that a slow target is left in peace. 0 < WallShare <= 1.
	WallShare float64
	// Jitter is the share of a pause that chance may add to it.
	Jitter float64
	// BackoffMax is the longest pause after failures, if the interval is not
	// longer.
	BackoffMax time.Duration
	// Trip is how many failures in a row open the circuit.
	Trip int
	// OpenFor is how long the circuit stays open at first; it doubles with each
	// trial that fails, up to OpenMax.
	OpenFor, OpenMax time.Duration
}

// DefaultBounds are what a coordinator begins with. 60 s is the interval that
// Harvester's documentation advises as the shortest.
func DefaultBounds() Bounds {
	return Bounds{
		Default: 5 * time.Minute, Floor: time.Minute, Deadline: 2 * time.Minute, WallShare: 0.1, Jitter: 0.1,
		BackoffMax: 15 * time.Minute, Trip: 5, OpenFor: 15 * time.Minute, OpenMax: time.Hour,
	}
}

// DefaultCores is the CPU time that a target may take per time: 1 % of a core.
const DefaultCores = 0.01

// longest is the longest interval; what is longer counts as this.
const longest = 365 * 24 * time.Hour

// Wish is what a target's spec asks for.
type Wish struct {
	// Every is the interval; 0: the default.
	Every time.Duration
	// Never: not by itself, only when somebody asks for it.
	Never bool
	// Cores is the CPU time that may be taken per time; 0: DefaultCores.
	Cores float64
}

// ParseInterval reads a spec's interval: a duration, "Never", or "" and "0" for
// the default. A negative one is an error; one that is too long to count is the
// longest.
func ParseInterval(s string) (every time.Duration, never bool, err error) {
	switch s {
	case "", "0":
		return 0, false, nil
	case "Never":
		return 0, true, nil
	}
	if !durations.MatchString(s) {
		return 0, false, fmt.Errorf("%q is neither Never nor a duration, such as 5m, that is not negative", s)
	}
	d, err := time.ParseDuration(s)
	if err != nil || d > longest {
		return longest, false, nil // well-formed, so it overflows
	}
	return d, false, nil
}

// Cost of one refresh, its children's included.
type Cost struct {
	CPU, Wall time.Duration
	Requests  int
	// Beside is the CPU time of what was done beside the refresh, at a pace of its
	// own: it counts against the budget of an hour, and lengthens no interval.
	Beside time.Duration
}

// Why says what an interval comes from.
type Why string

// What an interval can come from.
const (
	Configured Why = "Configured" // what the spec asks for
	ByDefault  Why = "Default"    // the spec asks for nothing
	AtFloor    Why = "Floor"      // the spec asks for less than is allowed
	ByCost     Why = "Cost"       // the last refresh cost more than the spec's interval would allow
	NeverAsked Why = "Never"
)

// interval is the effective one: the longest of what is asked for, the floor,
// and what the cost of the last refresh makes of the allowed shares.
func (b Bounds) interval(w Wish, last Cost) (time.Duration, Why) {
	d, why := w.Every, Configured
	if d <= 0 {
		d, why = b.Default, ByDefault
	}
	if d < b.Floor {
		d, why = b.Floor, AtFloor
	}
	if rest := b.rest(w, last); rest > d {
		d, why = rest, ByCost
	}
	if w.Never {
		why = NeverAsked
	}
	return min(d, longest), why
}

// rest is what must follow on a cost.
func (b Bounds) rest(w Wish, c Cost) time.Duration {
	return max(scale(c.CPU, 1/w.cores()), scale(c.Wall, 1/b.WallShare))
}

func (w Wish) cores() float64 {
	if w.Cores <= 0 {
		return DefaultCores
	}
	return w.Cores
}

// scale multiplies a duration without overflowing.
func scale(d time.Duration, by float64) time.Duration {
	f := float64(d) * by
	if f > float64(longest) || math.IsNaN(f) {
		return longest
	}
	return time.Duration(f)
}
