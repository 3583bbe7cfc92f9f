// Package units writes bytes, rates and times for people. Bytes are in binary
// units, as Kubernetes and Longhorn count them.
package units

import (
	"fmt"
	"math"
	"time"
)

// Bytes writes n with one decimal: "0 B", "512 B", "1.5 GiB".
func Bytes(n int64) string {
	if n < 0 {
		return "-" + Bytes(-max(n, -math.MaxInt64))
	}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		value /= 1024
		if value < 1023.95 { // would otherwise be written as 1024.0
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// Rate writes bytes per second.
func Rate(perSecond float64) string { return Bytes(int64(perSecond)) + "/s" }

// Duration writes d with the two largest units that it has, at least
// milliseconds: "350ms", "12s", "3m5s", "2h10m", "4d3h".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-max(d, -math.MaxInt64))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return pair(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return pair(d, time.Hour, "h", time.Minute, "m")
	}
	return pair(d, 24*time.Hour, "d", time.Hour, "h")
}

func pair(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	if rest := d % big / small; rest > 0 {
		return fmt.Sprintf("%d%s%d%s", d/big, bigName, rest, smallName)
	}
	return fmt.Sprintf("%d%s", d/big, bigName)
}

// Percent is done of total, rounded down; it is 100 only when finished is
// true, since a transfer is not over when its last byte has left.
func Percent(done, total int64, finished bool) int {
	if finished {
		return 100
	}
	if total <= 0 || done <= 0 {
		return 0
	}
	return int(min(99, 100*float64(done)/float64(total)))
}
