package scale

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"hayloft.dev/test/harness"
)

// usage is what a process has used so far, and what it holds.
type usage struct {
	at        time.Time
	cpu       time.Duration
	rss, peak float64 // MiB; the peak since it was last set back
}

// tick is the kernel's unit of CPU time in /proc, 1/USER_HZ on every Linux.
const tick = 10 * time.Millisecond

func (w *world) usage(p *harness.Program) usage {
	w.b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	check(w.b, err)
	_, rest, _ := strings.Cut(string(raw), ") ") // the name before it may hold spaces
	fields := strings.Fields(rest)               // from the state, which proc(5) counts as the third
	number := func(field int) time.Duration {
		n, err := strconv.ParseInt(fields[field-3], 10, 64)
		check(w.b, err)
		return time.Duration(n)
	}
	u := usage{at: time.Now(), cpu: (number(14) + number(15)) * tick}
	raw, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	check(w.b, err)
	for line := range strings.Lines(string(raw)) {
		name, rest, _ := strings.Cut(line, ":")
		if name != "VmRSS" && name != "VmHWM" {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		check(w.b, err)
		if name == "VmRSS" {
			u.rss = kib / 1024
		} else {
			u.peak = kib / 1024
		}
	}
	return u
}

// setBack has the peak of a process counted from now on.
func (w *world) setBack(p *harness.Program) {
	w.b.Helper()
	check(w.b, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte("5"), 0))
}

// millicores of CPU between two looks.
func millicores(from, to usage) float64 {
	return 1000 * (to.cpu - from.cpu).Seconds() / to.at.Sub(from.at).Seconds()
}

// atRest waits until a process does next to nothing.
func (w *world) atRest(p *harness.Program) {
	w.b.Helper()
	const look, quiet, looks, patience = 2 * time.Second, 30, 4, 10 * time.Minute
	before := w.usage(p)
	for began, n := time.Now(), 0; n < looks; {
		if time.Since(began) > patience {
			w.b.Fatalf("%s %s still works after %s", p.Kind, p.Name, patience)
		}
		w.pass(look)
		now := w.usage(p)
		if millicores(before, now) < quiet {
			n++
		} else {
			n = 0
		}
		before = now
	}
}
