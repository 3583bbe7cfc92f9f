// Package explain writes what is known of one object as a person would want to
// be told: what it is doing and why it waits, before the figures. It is pure:
// the objects and the time come from outside.
package explain

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Around is what is shown beside the object itself.
type Around struct {
	Now time.Time
	// Jobs that work for the object; nil with JobsHidden when the user may not
	// see them.
	Jobs       []v1alpha1.NodeJob
	JobsHidden bool
	Events     []corev1.Event
	// Points are those that a schedule made.
	Points []v1alpha1.VMBackup
}

// page writes labelled lines and tables.
type page struct {
	out io.Writer
	now time.Time
	err error
}

func (p *page) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format, args...)
	}
}

// line writes one "Label: value" line; an empty value is left out.
func (p *page) line(label, value string) {
	if value != "" {
		p.printf("%-16s%s\n", label+":", value)
	}
}

// table writes a section; without rows it writes nothing.
func (p *page) table(title string, head []string, rows [][]string) {
	if len(rows) == 0 || p.err != nil {
		return
	}
	p.printf("\n%s:\n", title)
	w := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
	for _, r := range append([][]string{head}, rows...) {
		for i := range r {
			if r[i] = strings.Join(strings.Fields(r[i]), " "); r[i] == "" {
				r[i] = "-"
			}
		}
		fmt.Fprintln(w, "  "+strings.Join(r, "\t"))
	}
	if err := w.Flush(); p.err == nil {
		p.err = err
	}
}

// list writes sentences below each other.
func (p *page) list(title string, items []string) {
	if len(items) == 0 {
		return
	}
	p.printf("\n%s:\n", title)
	for _, i := range items {
		p.printf("  - %s\n", i)
	}
}

func (p *page) conditions(list []metav1.Condition) {
	var rows [][]string
	for _, c := range list {
		rows = append(rows, []string{c.Type, string(c.Status), c.Reason, p.ago(c.LastTransitionTime.Time), c.Message})
	}
	p.table("Conditions", []string{"TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"}, rows)
}

func (p *page) events(list []corev1.Event) {
	var rows [][]string
	for _, e := range list {
		at := e.LastTimestamp.Time
		if at.IsZero() {
			at = e.EventTime.Time
		}
		if at.IsZero() {
			at = e.CreationTimestamp.Time
		}
		rows = append(rows, []string{p.ago(at), e.Type, e.Reason, e.Message})
	}
	p.table("Events", []string{"WHEN", "TYPE", "REASON", "MESSAGE"}, rows)
}

// times writes the steps of a life.
func (p *page) times(created metav1.Time, started, completed *metav1.Time) {
	p.line("Created", p.moment(created.Time))
	if started != nil {
		p.line("Started", p.moment(started.Time))
	}
	if completed != nil {
		text := p.moment(completed.Time)
		if started != nil {
			text += ", took " + units.Duration(completed.Sub(started.Time))
		}
		p.line("Completed", text)
	}
}

func (p *page) moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC") + " (" + p.ago(t) + ")"
}

func (p *page) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return duration.HumanDuration(p.now.Sub(t)) + " ago"
}

// amount is progress in bytes: "1.2 GiB of 2.0 GiB (60%)", "2.0 GiB" at the end.
func amount(progress *v1alpha1.Progress, finished bool) string {
	if progress == nil {
		return ""
	}
	if finished {
		return units.Bytes(progress.BytesTotal)
	}
	return fmt.Sprintf("%s of %s (%d%%)", units.Bytes(progress.BytesDone), units.Bytes(progress.BytesTotal),
		units.Percent(progress.BytesDone, progress.BytesTotal, false))
}
