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
//	  refresh: 1m         # shortest time between two looks through a target
//	  status: 2s          # how long a status that only informs is held back
package settings

import (
	"errors"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/control"
	"hayloft.dev/pkg/settings"
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
		Probe   *metav1.Duration `json:"probe"`
		Refresh *metav1.Duration `json:"refresh"`
		Status  *metav1.Duration `json:"status"`
	} `json:"floors"`
}

// Parse reads a file. base is what the flags say.
func Parse(data []byte, base Settings) (Settings, error) {
	var f file
	if err := settings.Read(data, &f); err != nil {
		return Settings{}, err
	}
	s := base
	if f.LogLevel != nil {
		s.LogLevel = *f.LogLevel
	}
	return s, errors.Join(
		settings.Number("limits.jobsPerNode", f.Limits.JobsPerNode, &s.Tuning.MaxJobsPerNode, 1, 1000),
		settings.Number("limits.targetWorkers", f.Limits.TargetWorkers, &s.Tuning.TargetWorkers, 1, 100),
		// A target is asked at least this seldom, and at least so often that a dead
		// one is known of.
		settings.Span("floors.probe", f.Floors.Probe, &s.Tuning.ProbeFloor, time.Second, time.Hour),
		settings.Span("floors.refresh", f.Floors.Refresh, &s.Tuning.RefreshFloor, time.Second, 24*time.Hour),
		settings.Span("floors.status", f.Floors.Status, &s.Tuning.StatusEvery, 100*time.Millisecond, time.Minute),
	)
}
