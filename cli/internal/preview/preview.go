// Package preview writes what a schedule is going to do: when it runs, and which
// points it keeps and lets go. It is pure: objects, points and the time come
// from outside, and nothing is changed by it.
package preview

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/retention"
	"hayloft.dev/pkg/schedule"
	"hayloft.dev/pkg/words"
)

// runs is how many runs are shown.
const runs = 10

// Schedule writes the next runs of a schedule and what retention holds of one VM
// after them. held are the points of that VM which are there now. A schedule that
// is not made yet needs a creationTimestamp, which "@every" counts from.
func Schedule(out io.Writer, now time.Time, s *v1alpha1.VMSchedule, held []retention.Point) error {
	table, err := schedule.Of(s)
	if err != nil {
		return err
	}
	policy, err := retention.PolicyOf(s)
	if err != nil {
		return err
	}
	p := page{out: out}
	p.printf("Schedule %s runs at %q (%s); its shortest interval is %s.\n", s.Name, table, table.Location(), units.Duration(table.Interval()))
	if s.Spec.Suspend {
		p.printf("It is suspended: none of this happens before it is resumed.\n")
	}

	var times []time.Time
	var rows [][]string
	for run := range table.All(now) {
		times = append(times, run)
		rows = append(rows, []string{moment(run, table.Location()), "in " + units.Duration(run.Sub(now))})
		if len(times) == runs {
			break
		}
	}
	p.table("The next "+words.Count(len(times), "run"), nil, rows)

	named := func(run time.Time) string { return moment(run, table.Location()) }
	verdicts := retention.Forecast(policy, held, times, named)
	rows = nil
	for _, v := range verdicts {
		rows = append(rows, []string{v.Point.Name, v.Why})
	}
	p.table(fmt.Sprintf("After these it holds %s of each VM, and never more than %d by its rules", words.Count(len(verdicts), "point"), policy.Most()),
		[]string{"POINT", "STAYS BECAUSE"}, rows)
	return p.err
}

// VM is one VM of a schedule, and what becomes of its points.
type VM struct {
	Name     string
	Verdicts []retention.Verdict
}

// Retention writes what becomes of points now.
func Retention(out io.Writer, vms []VM, zone *time.Location) error {
	p := page{out: out}
	for i, vm := range vms {
		goes := len(retention.Removals(vm.Verdicts))
		title := fmt.Sprintf("VM %s: %s, of which %s", vm.Name, words.Count(len(vm.Verdicts), "point"),
			fmt.Sprintf("%d %s", goes, words.Verb(goes, "goes", "go")))
		var rows [][]string
		for _, v := range vm.Verdicts {
			rows = append(rows, []string{v.Point.Name, moment(v.Point.Time, zone), string(v.Point.State), Fate(v), v.Why})
		}
		p.section(i > 0, title, []string{"POINT", "TIME", "STATE", "FATE", "BECAUSE"}, rows)
	}
	return p.err
}

// Fate is what becomes of a point, in a word.
func Fate(v retention.Verdict) string {
	switch {
	case v.Keep:
		return "stays"
	case v.Point.Deleting:
		return "going"
	}
	return "goes"
}

func moment(at time.Time, zone *time.Location) string {
	return at.In(zone).Format("2006-01-02 15:04:05 MST")
}

// page writes titled tables.
type page struct {
	out io.Writer
	err error
}

func (p *page) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format, args...)
	}
}

func (p *page) table(title string, head []string, rows [][]string) {
	p.section(true, title, head, rows)
}

func (p *page) section(apart bool, title string, head []string, rows [][]string) {
	if apart {
		p.printf("\n")
	}
	p.printf("%s:\n", title)
	if p.err != nil {
		return
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
	if head != nil {
		rows = slices.Concat([][]string{head}, rows)
	}
	for _, r := range rows {
		fmt.Fprintln(w, "  "+strings.Join(r, "\t"))
	}
	p.err = w.Flush()
}
