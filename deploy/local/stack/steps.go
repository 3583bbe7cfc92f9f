package stack

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// steps tells a person what is being done and how long it took.
type steps struct {
	out     io.Writer
	started time.Time
	mu      sync.Mutex
}

// do runs one step and says so when it is done.
func (s *steps) do(what string, step func() error) error {
	began := time.Now()
	if err := step(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.say("%s (%.1f s)", what, time.Since(began).Seconds())
	return nil
}

// say prints a line with the time since the start.
func (s *steps) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%6.1f s  %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, args...))
}
