package control

import "time"

// Tuning is what may be changed while the coordinator runs. Options say what it
// begins with.
type Tuning struct {
	// MaxJobsPerNode bounds the jobs that are assigned to one node at once, and
	// TargetWorkers the target workers that run at once. What is over a bound that
	// was lowered goes on.
	MaxJobsPerNode, TargetWorkers int
	// ProbeFloor is how long a good probe of a target counts, and StatusEvery how
	// long a status that only informs is held back.
	ProbeFloor, StatusEvery time.Duration
	// RefreshFloor is the shortest time between two looks through a target. It holds
	// from each target's next look on.
	RefreshFloor time.Duration
}

// TuningOf is what options begin with.
func TuningOf(o Options) Tuning {
	o = o.Defaults()
	return Tuning{MaxJobsPerNode: o.MaxJobsPerNode, TargetWorkers: o.TargetWorkers, ProbeFloor: o.ProbeFloor, StatusEvery: o.StatusEvery, RefreshFloor: o.Refresh.Floor}
}

// Tune puts other bounds in force, at once.
func (c *Controller) Tune(t Tuning) {
	c.tuned.Store(&t)
	c.pool.slots.resize(t.TargetWorkers)
	c.wake.assigner.wake(assignKey)
}

// tuning is what is in force.
func (c *Controller) tuning() Tuning { return *c.tuned.Load() }

// JobsPerNode is the bound in force on jobs that are assigned to one node.
func (c *Controller) JobsPerNode() int { return c.tuning().MaxJobsPerNode }
