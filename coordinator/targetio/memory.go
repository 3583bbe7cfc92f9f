package main

import (
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

const (
	// freeMemory is what a worker may take where nothing bounds its container's memory.
	freeMemory = 4 << 30
	// shareOfMemory is how much of its container's one worker may take: what is on a
	// target may cost a worker, but not the coordinator, whose memory is bounded together
	// with it.
	shareOfMemory = 0.75
	// keen is the share of that from which on garbage is collected all the time.
	keen = 0.8
)

// limitMemory has the kernel refuse this process more memory than it may have, which
// ends it. The race detector reserves more than any limit.
func limitMemory(bytes int64) error {
	if raceDetector {
		return nil
	}
	debug.SetMemoryLimit(int64(float64(bytes) * keen))
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: uint64(bytes), Max: uint64(bytes)}); err != nil {
		return fmt.Errorf("limiting the memory of the target worker: %w", err)
	}
	return nil
}

// memory is what this process may have of what its container has.
func memory() int64 {
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if data, err := os.ReadFile(file); err == nil {
			return partOf(string(data))
		}
	}
	return freeMemory
}

// partOf is a worker's part of what a control group's file says.
func partOf(limit string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(limit), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/2 { // "max", or the largest number there
		return freeMemory
	}
	return int64(float64(n) * shareOfMemory)
}
