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
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/agent/worker"
	"hayloft.dev/pkg/settings"
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
	if err := settings.Read(data, &f); err != nil {
		return Settings{}, err
	}
	s := base
	if f.LogLevel != nil {
		s.LogLevel = *f.LogLevel
	}
	return s, errors.Join(
		settings.Span("limits.stall", f.Limits.Stall, &s.Limits.Stall, 10*time.Second, 24*time.Hour),
		settings.Span("limits.start", f.Limits.Start, &s.Limits.Start, 10*time.Second, time.Hour),
		settings.Span("limits.lost", f.Limits.Lost, &s.Limits.Lost, 5*time.Second, time.Hour),
		settings.Span("floors.report", f.Floors.Report, &s.Limits.Report, 100*time.Millisecond, time.Minute),
		settings.Span("floors.poll", f.Floors.Poll, &s.Limits.Poll, 100*time.Millisecond, 10*time.Second),
	)
}
