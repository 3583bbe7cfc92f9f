package explain

import (
	"fmt"
	"strings"
	"time"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// refresh says how often a target is looked through, what that costs and what was
// found.
func (p *page) refresh(t *v1alpha1.BackupTarget) {
	p.line("Refresh", pace(t))
	s := t.Status.Refresh
	if s == nil {
		return
	}
	if s.LastTime != nil {
		last := p.moment(s.LastTime.Time)
		if s.Message != "" {
			last += ", failed: " + s.Message
		}
		p.line("Last refresh", last)
	}
	if c := s.Cost; c != nil {
		p.line("Its cost", fmt.Sprintf("%s of CPU, %s, %s", units.Duration(time.Duration(c.CPUMilliseconds)*time.Millisecond),
			units.Duration(time.Duration(c.WallMilliseconds)*time.Millisecond), words.Count(int(c.Requests), "request")))
		p.line("CPU in an hour", fmt.Sprintf("%s of %s", units.Duration(time.Duration(s.SpentCPUMilliseconds)*time.Millisecond), units.Duration(cpuLimit(t))))
	}
	if s.Circuit == "Open" || s.Circuit == "HalfOpen" {
		p.line("Circuit", fmt.Sprintf("%s, after %s in a row", s.Circuit, words.Count(int(s.Failures), "failure")))
	}
	if s.NextTime != nil {
		if wait := s.NextTime.Sub(p.now); wait > 0 {
			p.line("Next refresh", "in "+units.Duration(wait)+" at the earliest")
		}
	}
	if d := s.Documents; d != nil {
		p.line("Documents", documents(d))
	}
	if l := t.Status.Leftovers; l != nil && l.Time != nil {
		p.line("Leftovers", leftovers(l)+", looked for "+p.moment(l.Time.Time))
	}
	var rows [][]string
	for _, w := range s.Waiting {
		rows = append(rows, []string{w.Namespace, fmt.Sprint(w.Points), w.Message})
	}
	p.table("Namespaces with points on the target, which are not shown here", []string{"NAMESPACE", "POINTS", "WHY"}, rows)
	rows = nil
	for _, f := range s.Faults {
		rows = append(rows, []string{f.Path, f.Message})
	}
	p.table("Files on the target that are no documents of points", []string{"PATH", "WHY"}, rows)
}

// pace is the interval that is asked for and the one in effect.
func pace(t *v1alpha1.BackupTarget) string {
	asked := "nothing set"
	if r := t.Spec.Refresh; r != nil && r.Interval != "" {
		asked = "interval " + r.Interval
	}
	s := t.Status.Refresh
	switch {
	case s == nil || s.EffectiveInterval == nil:
		return asked
	case s.IntervalFrom == "Never":
		return "only when somebody asks for it"
	}
	effective := "every " + units.Duration(s.EffectiveInterval.Duration)
	switch s.IntervalFrom {
	case "Floor":
		return fmt.Sprintf("%s (%s; that is the shortest that is allowed)", effective, asked)
	case "Cost":
		return fmt.Sprintf("%s (%s; the last one cost too much for more)", effective, asked)
	case "Default":
		return fmt.Sprintf("%s (%s; that is the default)", effective, asked)
	}
	return effective
}

// cpuLimit is what refreshing may take in an hour.
func cpuLimit(t *v1alpha1.BackupTarget) time.Duration {
	cores := 0.01 // the API's default
	if r := t.Spec.Refresh; r != nil && r.MaxCPU != nil {
		cores = r.MaxCPU.AsApproximateFloat64()
	}
	return time.Duration(cores * float64(time.Hour))
}

// leftovers are what the last look for them found.
func leftovers(l *v1alpha1.TargetLeftovers) string {
	var parts []string
	for _, n := range []struct {
		count int64
		one   string
	}{{l.InProgress, "transfer that never ended"}, {l.NoDocument, "backup without a document"}, {l.Drafts, "draft"}} {
		if n.count > 0 {
			one, rest, _ := strings.Cut(n.one, " ")
			parts = append(parts, strings.TrimSpace(words.Count(int(n.count), one)+" "+rest))
		}
	}
	switch {
	case len(parts) == 0 && l.Message != "":
		return l.Message
	case len(parts) == 0:
		return "none"
	case l.Removable > 0:
		parts = append(parts, fmt.Sprintf("%d of these may be removed", l.Removable))
	}
	return strings.Join(parts, ", ")
}

func documents(d *v1alpha1.RefreshedDocuments) string {
	parts := []string{fmt.Sprintf("%d with a backup here", d.Points)}
	for _, n := range []struct {
		count int64
		what  string
	}{
		{d.Forgotten, "whose backup was deleted here"}, {d.Waiting, "of other namespaces"}, {d.Faulty, "that are none"}, {d.Unread, "not read yet"},
	} {
		if n.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	return strings.Join(parts, ", ")
}
