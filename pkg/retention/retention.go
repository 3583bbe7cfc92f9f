// Package retention says which points of a VM a schedule keeps, which it lets
// go, and of each one why, in words that people read.
//
// It is pure: points are plain values that somebody else has read, of one VM and
// one schedule. Removing is not its business, nor what a removed point leaves on
// its target, nor when runs are (package schedule).
package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"hayloft.dev/pkg/words"
)

// State is what became of a point, as far as it matters here.
type State string

// The states of a point.
const (
	// Good can be restored.
	Good State = "Good"
	// Failed can not, and never will.
	Failed State = "Failed"
	// Unfinished is still being made.
	Unfinished State = "Unfinished"
	// Missing was good and is not seen on its target at present: it neither
	// counts as good nor goes, since it may be there all the same.
	Missing State = "Missing"
	// Damaged was good, and something of it was not found on its target when it was
	// verified: it neither counts as good nor goes by itself, since what is left of it
	// may be wanted.
	Damaged State = "Damaged"
)

// Point is one point.
type Point struct {
	Name string
	// Time is the nominal time of the run that made it. Rules go by it, so that a
	// run which began late still stands for its own day.
	Time  time.Time
	State State
	// Pinned points are kept by a person's word.
	Pinned bool
	// InUse are the restores that read it, as sentences shall name them.
	InUse []string
	// OpenRun: the run that made it has not ended, and is to be judged by it.
	OpenRun bool
	// Deleting: it is on its way out already.
	Deleting bool
	// Foreign: another cluster, or another schedule, made it.
	Foreign bool
}

// Policy says which good points are kept. A point stays when any of the numbers
// wants it. A policy without any number keeps everything.
type Policy struct {
	// KeepLast are the newest.
	KeepLast int
	// KeepHourly and those below keep the newest of each of so many hours, days,
	// weeks (from Monday), months and years that have one.
	KeepHourly, KeepDaily, KeepWeekly, KeepMonthly, KeepYearly int
	// MinGood is the number of good points below which none is removed.
	MinGood int
	// Zone is where hours, days and so on begin; nil is UTC.
	Zone *time.Location
}

// Most is how many points the policy keeps in the long run at most, those apart
// that are kept for other reasons.
func (p Policy) Most() int {
	return max(p.MinGood, p.KeepLast+p.KeepHourly+p.KeepDaily+p.KeepWeekly+p.KeepMonthly+p.KeepYearly)
}

// Verdict is what becomes of one point.
type Verdict struct {
	Point Point
	Keep  bool
	// Why is a sentence without a full stop.
	Why string
}

// Plan judges points, in whatever order they come. The verdicts are ordered from
// the newest point to the oldest.
//
// Never to go are points that are pinned, in use, of an open run, unfinished,
// missing, damaged or foreign. Good ones go when no rule wants them and MinGood others stay. Failed
// ones go first: when a later point is good, when any good one goes, or when
// there are more of them than KeepLast.
func Plan(p Policy, points []Point) []Verdict {
	list := slices.Clone(points)
	slices.SortFunc(list, func(a, b Point) int {
		return cmp.Or(b.Time.Compare(a.Time), strings.Compare(b.Name, a.Name))
	})
	out := make([]Verdict, len(list))
	var good, failed []*Verdict
	for i, point := range list {
		v := &out[i]
		v.Point = point
		switch {
		case point.Deleting:
			v.Why = "it is being deleted already"
		case point.Foreign:
			v.keep("another cluster or schedule made it")
		case point.State == Missing:
			v.keep("it is not seen on its target at present")
		case point.State == Damaged:
			v.keep("it was found damaged: verify it again, or delete it")
		case point.State == Good:
			good = append(good, v)
		case point.State == Failed:
			failed = append(failed, v)
		default:
			v.keep("it is not finished")
		}
	}
	p.judgeGood(good)
	p.judgeFailed(failed, good)
	return out
}

// judgeGood takes the good points, the newest first.
func (p Policy) judgeGood(good []*Verdict) {
	rules := p.rules()
	for _, rule := range rules {
		rule(good)
	}
	kept := 0
	for _, v := range good {
		v.protect()
		if len(rules) == 0 {
			v.keep("no rule says what is to go")
		}
		if v.Keep {
			kept++
		}
	}
	for _, v := range good {
		switch {
		case v.Keep:
		case kept < p.MinGood:
			v.keep(fmt.Sprintf("at least %s must stay", words.Count(p.MinGood, "good point")))
			kept++
		default:
			v.Why = "no rule wants it any more"
		}
	}
}

// judgeFailed takes the failed points and the judged good ones, the newest first.
func (p Policy) judgeFailed(failed, good []*Verdict) {
	goes := slices.ContainsFunc(good, func(v *Verdict) bool { return !v.Keep })
	for i, v := range failed {
		switch {
		case v.protect():
		case len(good) > 0 && good[0].Point.Time.After(v.Point.Time):
			v.Why = "it failed, and a later one is good"
		case goes:
			v.Why = "it failed, and goes before any good one"
		case i >= max(1, p.KeepLast) && len(p.rules()) > 0:
			v.Why = fmt.Sprintf("it failed, as did %d later ones", i)
		default:
			v.keep("it failed, and no later one is good")
		}
	}
}

// keep has a point stay for one reason more.
func (v *Verdict) keep(why string) {
	if v.Keep {
		why = v.Why + "; " + why
	}
	v.Keep, v.Why = true, why
}

// protect keeps what nobody may remove.
func (v *Verdict) protect() bool {
	if v.Point.Pinned {
		v.keep("it is pinned")
	}
	if n := len(v.Point.InUse); n > 0 {
		v.keep(fmt.Sprintf("%s %s %s it", words.Verb(n, "restore", "restores"), strings.Join(v.Point.InUse, ", "), words.Verb(n, "reads", "read")))
	}
	if v.Point.OpenRun {
		v.keep("the run that made it has not ended")
	}
	return v.Keep
}

// Removals are the points that go, in the order in which to remove them: failed
// ones, then the good ones from the oldest on.
func Removals(verdicts []Verdict) []Point {
	var out []Point
	for _, v := range verdicts {
		if !v.Keep && !v.Point.Deleting {
			out = append(out, v.Point)
		}
	}
	slices.SortFunc(out, func(a, b Point) int {
		return cmp.Or(rank(a)-rank(b), a.Time.Compare(b.Time), strings.Compare(a.Name, b.Name))
	})
	return out
}

// rank puts failed points before good ones.
func rank(p Point) int {
	if p.State == Failed {
		return 0
	}
	return 1
}
