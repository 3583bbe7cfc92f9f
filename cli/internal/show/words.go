package show

import (
	"fmt"
	"strings"
	"time"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/rate"
	"hayloft.dev/pkg/status"
)

// stateWord says what happens to a disk.
func stateWord(s v1alpha1.DiskState) string {
	switch s {
	case v1alpha1.DiskPending, "":
		return "waiting"
	case v1alpha1.DiskCut:
		return "snapshot cut"
	case v1alpha1.DiskTransferring:
		return "moving"
	case v1alpha1.DiskTransferred:
		return "checking"
	case v1alpha1.DiskDone:
		return "done"
	case v1alpha1.DiskFailed:
		return "failed"
	}
	return strings.ToLower(string(s))
}

// amount is how much of a disk is done: "1.2 of 2.0 GiB" in its own units.
func amount(d status.Disk) string {
	if d.Total == 0 {
		return ""
	}
	return units.Bytes(d.Done) + " of " + units.Bytes(d.Total)
}

// speed is "80.0 MiB/s, 10s left", or "" when it is not known.
func speed(e rate.Estimate) string {
	if e.PerSecond <= 0 {
		return ""
	}
	s := units.Rate(e.PerSecond)
	if e.Known {
		left := (e.Left + time.Second - 1).Truncate(time.Second) // rounded up
		s += ", " + units.Duration(max(left, time.Second)) + " left"
	}
	return s
}

// diskLine is a disk in words.
func diskLine(d status.Disk, e rate.Estimate) string {
	parts := []string{stateWord(d.State)}
	if d.State == v1alpha1.DiskTransferring {
		parts = nil
		if d.Total > 0 {
			parts = append(parts, fmt.Sprintf("%d%%", units.Percent(d.Done, d.Total, false)))
		}
	}
	for _, p := range []string{amount(d), speed(e)} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		parts = []string{stateWord(d.State)}
	}
	if d.Attempt > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", d.Attempt))
	}
	if d.State == v1alpha1.DiskFailed && d.Message != "" {
		parts = append(parts, d.Message)
	}
	return d.Name + " " + strings.Join(parts, ", ")
}

// headline is the phase and what is waited for.
func headline(s status.Status) string {
	phase := s.Phase
	if phase == "" {
		phase = "Pending"
	}
	if s.Why != "" && !s.Ended {
		return phase + ": " + s.Why
	}
	return phase
}
