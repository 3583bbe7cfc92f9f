package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
)

// Jitter is a delay of at least 0 and less than bound, in whole seconds where
// bound has as many. It is the same whenever it is asked for with the same
// parts, the schedule's UID and the VM or nominal time that is to be delayed, so
// that two leaders agree on it, and spreads evenly over different ones.
func Jitter(bound time.Duration, parts ...string) time.Duration {
	if bound <= 0 {
		return 0
	}
	// No part holds a line break, so different parts never give the same text.
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	unit := time.Nanosecond
	if bound%time.Second == 0 {
		unit = time.Second
	}
	steps := uint64(bound / unit)
	return time.Duration(binary.BigEndian.Uint64(sum[:8])%steps) * unit
}
