// Package settings reads the coordinator's configuration file: what may be
// changed while it runs. What the file leaves out is as the flags say. It only
// reads and checks; putting settings in force is its caller's part.
//
//	logLevel: info        # debug, info, warn or error
//	limits:
//	  jobsPerNode: 8      # jobs that are assigned to one node at once
//	  targetWorkers: 8    # target workers that run at once
//	floors:
//	  probe: 1m           # how long a good probe of a target counts
//	  status: 2s          # how long a status that only informs is held back
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"hayloft.dev/coordinator/control"
)

// Settings are what is in force.
type Settings struct {
	LogLevel slog.Level
	Tuning   control.Tuning
}

// file is the file's shape.
type file struct {
	LogLevel *slog.Level `json:"logLevel"`
	Limits   struct {
		JobsPerNode   *int `json:"jobsPerNode"`
		TargetWorkers *int `json:"targetWorkers"`
	} `json:"limits"`
	Floors struct {
		Probe  *metav1.Duration `json:"probe"`
		Status *metav1.Duration `json:"status"`
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
		number("limits.jobsPerNode", f.Limits.JobsPerNode, &s.Tuning.MaxJobsPerNode, 1, 1000),
		number("limits.targetWorkers", f.Limits.TargetWorkers, &s.Tuning.TargetWorkers, 1, 100),
		// A target is asked at least this seldom, and at least so often that a dead
		// one is known of.
		span("floors.probe", f.Floors.Probe, &s.Tuning.ProbeFloor, time.Second, time.Hour),
		span("floors.status", f.Floors.Status, &s.Tuning.StatusEvery, 100*time.Millisecond, time.Minute),
	)
}

func number(field string, from, to *int, low, high int) error {
	switch {
	case from == nil:
	case *from < low || *from > high:
		return fmt.Errorf("%s: %d is out of bounds: choose %d to %d", field, *from, low, high)
	default:
		*to = *from
	}
	return nil
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
