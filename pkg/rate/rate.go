// Package rate tells how fast a transfer goes and when it will end, from
// samples of how far it was. It has no clock of its own.
package rate

import "time"

// Window is how far back samples count: long enough to smooth the steps in
// which agents report, short enough to follow a target that slows down.
const Window = 30 * time.Second

// Patience is how long a rate stands without a new sample. After that the time
// since counts as time in which nothing moved. Agents report every few seconds.
const Patience = 5 * time.Second

// Sample is how many bytes were done at one time.
type Sample struct {
	At   time.Time
	Done int64
}

// Estimate is what samples tell.
type Estimate struct {
	// PerSecond is in bytes; 0 when nothing moves or it is not known yet.
	PerSecond float64
	// Left is the time to the end; meaningful only when Known.
	Left  time.Duration
	Known bool
}

// Keep adds a sample and drops those that no longer count: older than Window
// before it (but always one before it), or from before the bytes went back,
// which is when another attempt began.
func Keep(samples []Sample, s Sample) []Sample {
	if n := len(samples); n > 0 && s.Done < samples[n-1].Done {
		return []Sample{s}
	}
	samples = append(samples, s)
	first := 0
	for first < len(samples)-2 && s.At.Sub(samples[first].At) > Window {
		first++
	}
	return samples[first:]
}

// Of estimates at a time not before the last sample. total is in bytes, 0 when
// it is not known.
func Of(samples []Sample, total int64, now time.Time) Estimate {
	if len(samples) == 0 {
		return Estimate{}
	}
	first, last := samples[0], samples[len(samples)-1]
	if total > 0 && last.Done >= total {
		return Estimate{Known: true}
	}
	end := last.At
	if now.Sub(last.At) > Patience {
		end = now
	}
	span := end.Sub(first.At)
	moved := last.Done - first.Done
	if span <= 0 || moved <= 0 {
		return Estimate{}
	}
	e := Estimate{PerSecond: float64(moved) / span.Seconds()}
	if total > 0 {
		left := float64(total-last.Done)/e.PerSecond - now.Sub(last.At).Seconds()
		// A year is as good as never, and keeps the number in range.
		if left < (365 * 24 * time.Hour).Seconds() {
			e.Left, e.Known = time.Duration(max(left, 0)*float64(time.Second)), true
		}
	}
	return e
}
