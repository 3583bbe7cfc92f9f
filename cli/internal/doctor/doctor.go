// Package doctor looks through an installation and tells what is wrong with it:
// what, why that matters, and what to do. It changes nothing, and it needs neither
// a coordinator nor an agent that lives.
//
// Gather reads what the cluster says; the checks are functions of that. What
// cannot be read is a finding, too: a doctor who was not let in must not say that
// all is well.
package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Level is how bad a finding is.
type Level string

// The levels, the worst first.
const (
	Problem   Level = "Problem"   // something does not work
	Warning   Level = "Warning"   // it works, but not as it was meant, or not for long
	Unchecked Level = "Unchecked" // it could not be looked at
	Note      Level = "Note"      // good to know
)

// Finding is one thing that is wrong.
type Finding struct {
	// Check is the part of the installation that was looked at.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// What is wrong, Why that matters and what to Do: parts of one line.
	What string `json:"what"`
	Why  string `json:"why"`
	Do   string `json:"do"`
}

// Report is what one look found.
type Report struct {
	// Checks are the parts that were looked at.
	Checks []string `json:"checks"`
	// Findings are by check, the worst first; empty: nothing is wrong.
	Findings []Finding `json:"findings"`
}

// Count of findings of a level.
func (r Report) Count(l Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// Options are whom to ask, and where.
type Options struct {
	Client client.WithWatch
	// System and Longhorn are the namespaces of both, Namespace the user's.
	System, Longhorn, Namespace string
	// Skew is how far this machine's clock is ahead of the API server's, as far as
	// is known.
	Skew func() (time.Duration, bool)
	Now  func() time.Time
}

// check is one part, by its name.
type check struct {
	name string
	look func(*Facts) []Finding
}

var checks = []check{
	{"definitions", definitions},
	{"rights", rights},
	{"coordinator", coordinator},
	{"agents", agents},
	{"targets", targets},
	{"intervals", intervals},
	{"leftovers", leftovers},
}

// Examine looks through the installation.
func Examine(ctx context.Context, o Options) (Report, error) {
	f, err := Gather(ctx, o)
	if err != nil {
		return Report{}, err
	}
	return Judge(f), nil
}

// Judge tells what is wrong by the facts.
func Judge(f *Facts) Report {
	r := Report{Findings: []Finding{}}
	for _, c := range checks {
		r.Checks = append(r.Checks, c.name)
		found := c.look(f)
		slices.SortStableFunc(found, func(a, b Finding) int { return rank(a.Level) - rank(b.Level) })
		for _, one := range found {
			one.Check = c.name
			r.Findings = append(r.Findings, one)
		}
	}
	return r
}

func rank(l Level) int { return slices.Index([]Level{Problem, Warning, Unchecked, Note}, l) }

// listed is a few of many names: what is cut off is counted.
func listed(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + more(len(names)-most)
}
