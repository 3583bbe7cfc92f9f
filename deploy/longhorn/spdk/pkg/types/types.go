// Package types has the words of the v2 data engine that the instance manager compares with.
package types

// Mode is how an engine uses a replica.
type Mode string

// The modes, and the state of a rebuild that goes on.
const (
	ModeWO  Mode = "WO"
	ModeRW  Mode = "RW"
	ModeERR Mode = "ERR"

	ProgressStateInProgress = "in_progress"
)
