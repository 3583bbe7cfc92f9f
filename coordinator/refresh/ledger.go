package refresh

import (
	"regexp"
	"slices"
	"time"
)

// durations are those that are not negative; the schema of a BackupTarget has
// the same rule.
var durations = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)

// window is the time over which the bound on CPU time is kept.
const window = time.Hour

// leastAllowance is what the smallest refresh may take: the kernel's limit on a
// process's CPU time counts in whole seconds, and half of it is the worker's.
const leastAllowance = 2 * time.Second

// ledger holds what was spent lately. A refresh counts with all it has cost as
// long as its end is within the last window, so that whatever part of a window
// is looked at, no more was spent in it than the budget.
type ledger struct{ spent []spent }

type spent struct {
	end time.Time
	cpu time.Duration
}

func (l *ledger) add(end time.Time, cpu time.Duration) {
	if cpu > 0 {
		l.spent = append(l.spent, spent{end, cpu})
	}
}

// sum of what counts at a moment; what does not any more is dropped.
func (l *ledger) sum(now time.Time) (total time.Duration) {
	l.spent = slices.DeleteFunc(l.spent, func(s spent) bool { return now.Sub(s.end) > window })
	for _, s := range l.spent {
		total += s.cpu
	}
	return total
}

// free is when, at the earliest, no more than limit counts.
func (l *ledger) free(now time.Time, limit time.Duration) time.Time {
	at, total := now, l.sum(now)
	slices.SortFunc(l.spent, func(a, b spent) int { return a.end.Compare(b.end) })
	for _, s := range l.spent {
		if total <= limit {
			break
		}
		total -= s.cpu
		at = s.end.Add(window + time.Nanosecond)
	}
	return at
}

// budget is the CPU time that a target may take in a window, and allowance the
// part of it that one refresh may take.
func (w Wish) budget() time.Duration { return max(leastAllowance, scale(window, w.cores())) }

func (w Wish) allowance() time.Duration { return max(leastAllowance, w.budget()/4) }
