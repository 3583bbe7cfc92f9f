package worker

import "time"

// Limits bound every wait of the worker.
type Limits struct {
	Call       time.Duration // one gRPC call that only asks
	Start      time.Duration // asking an engine to start a backup: it reads the target and sleeps 2 s for backupstore's lock before it answers
	Attach     time.Duration // a detached volume to be attached
	Detach     time.Duration // and detached again
	Purge      time.Duration // snapshots to be merged away
	Fold       time.Duration // superseded snapshots to be merged away after a backup
	Stall      time.Duration // a transfer without any progress
	Lost       time.Duration // an engine that does not answer during a transfer
	Lock       time.Duration // another process's lock on a backup volume: backupstore lets a dead one stand for 150 s
	Poll       time.Duration // between two looks at a transfer
	Report     time.Duration // between two progress reports of a job
	Linger     time.Duration // what a job holds is kept for the next one: a cut's leases for its backups, an attachment for anybody's
	RetryFloor time.Duration // before a job is looked at again
	Cuts       int           // tries to cut all disks within the window
}

// DefaultLimits are for production.
func DefaultLimits() Limits {
	return Limits{
		Call:       15 * time.Second,
		Start:      2 * time.Minute,
		Attach:     2 * time.Minute,
		Detach:     2 * time.Minute,
		Purge:      30 * time.Minute,
		Fold:       30 * time.Second,
		Stall:      10 * time.Minute,
		Lost:       time.Minute,
		Lock:       5 * time.Minute,
		Poll:       500 * time.Millisecond,
		Report:     2 * time.Second,
		Linger:     2 * time.Second,
		RetryFloor: time.Second,
		Cuts:       3,
	}
}
