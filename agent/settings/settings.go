// Package settings reads the agent's configuration file: what may be changed
// while it runs. What the file leaves out is as the flags say. It only reads and
// checks; putting settings in force is its caller's part.
//
//	logLevel: info    # debug, info, warn or error
//	limits:
//	  stall: 10m      # a transfer without progress for so long has failed
//	  start: 2m       # an engine that has not started a transfer for so long has failed to
//	  lost: 1m        # a transfer whose engine has not answered for so long is lost
//	floors:
//	  report: 2s      # between two progress reports of a job
//	  poll: 500ms     # between two looks at a transfer
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"hayloft.dev/agent/worker"
)

// Settings are what is in force.
type Settings struct {
	LogLevel slog.Level
	Limits   worker.Limits
}

// file is the file's shape.
type file struct {
	LogLevel *slog.Level `json:"logLevel"`
	Limits   struct {
		Stall *metav1.Duration `json:"stall"`
		Start *metav1.Duration `json:"start"`
		Lost  *metav1.Duration `json:"lost"`
	} `json:"limits"`
	Floors struct {
		Report *metav1.Duration `json:"report"`
		Poll   *metav1.Duration `json:"poll"`
	} `json:"floors"`
}

// Parse reads a file. base is what the flags say.
func Parse(data []byte, base Settings) (Settings, error) {
	var f file
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return Settings{}, fmt.Errorf("reading the configuration: %w", err)
	}
	s := base
	if f.LogLevel != nil {
		s.LogLevel = *f.LogLevel
	}
	return s, errors.Join(
		span("limits.stall", f.Limits.Stall, &s.Limits.Stall, 10*time.Second, 24*time.Hour),
		span("limits.start", f.Limits.Start, &s.Limits.Start, 10*time.Second, time.Hour),
		span("limits.lost", f.Limits.Lost, &s.Limits.Lost, 5*time.Second, time.Hour),
		span("floors.report", f.Floors.Report, &s.Limits.Report, 100*time.Millisecond, time.Minute),
		span("floors.poll", f.Floors.Poll, &s.Limits.Poll, 100*time.Millisecond, 10*time.Second),
	)
}

func span(field string, from *metav1.Duration, to *time.Duration, low, high time.Duration) error {
	switch {
	case from == nil:
	case from.Duration < low || from.Duration > high:
		return fmt.Errorf("%s: %s is out of bounds: choose %s to %s", field, from.Duration, low, high)
	default:
		*to = from.Duration
	}
	return nil
}
