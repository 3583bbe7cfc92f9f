package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"hayloft.dev/pkg/status"
)

// quiet is the shortest time between two lines.
const quiet = time.Second

// Lines prints a line when something changed, at most one a second.
type Lines struct {
	out    io.Writer
	meters meters
	last   status.Status
	// shown is the last line without times and rates, which change always.
	shown   string
	at      time.Time
	waiting bool
}

// NewLines prints to out.
func NewLines(out io.Writer) *Lines { return &Lines{out: out, meters: meters{}} }

// Update implements View.
func (l *Lines) Update(now time.Time, s status.Status) {
	l.meters.add(now, s)
	l.last, l.waiting = s, true
	l.Tick(now)
}

// Tick implements View.
func (l *Lines) Tick(now time.Time) {
	if l.waiting && (l.at.IsZero() || now.Sub(l.at) >= quiet) {
		l.print(now)
	}
}

// Say implements View.
func (l *Lines) Say(now time.Time, remark string) {
	l.write(now, remark)
}

// Close implements View.
func (l *Lines) Close(now time.Time) {
	if l.waiting {
		l.print(now)
	}
}

func (l *Lines) print(now time.Time) {
	l.waiting = false
	plain, full := []string{headline(l.last)}, []string{headline(l.last)}
	for _, d := range l.last.Disks {
		full = append(full, diskLine(d, l.meters.of(d, now)))
		plain = append(plain, fmt.Sprint(d))
	}
	if same := strings.Join(plain, "; "); same != l.shown {
		l.shown, l.at = same, now
		l.write(now, strings.Join(full, "; "))
	}
}

func (l *Lines) write(now time.Time, line string) {
	fmt.Fprintf(l.out, "%s %s\n", now.Format(time.TimeOnly), line)
}
