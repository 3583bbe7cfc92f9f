package longhorn

import (
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"

	"hayloft.dev/deploy/local/longhorn/instance"
)

// action is what is to be done with a volume next.
type action int

const (
	nothing  action = iota
	settle          // its objects are made: it is detached now
	open            // start its processes
	closing         // stop them
	fault           // its engine is gone: say so
	recovery        // it is closed after a fault: it can be used again
)

func (a action) String() string {
	return [...]string{"nothing", "settle", "open", "close", "fault", "recover"}[a]
}

// facts are what next decides on.
type facts struct {
	State       lh.VolumeState
	Robustness  lh.VolumeRobustness
	Wanted      string // the node that the spec names, "" is detached
	Current     string // the node that the status names
	Engine      instance.State
	AllFailed   bool // the engine runs and has no replica left
	Schedulable bool // at least one replica has a node
	Stray       bool // something of the volume runs
}

// next is the state machine of attaching and detaching, one step at a time. A volume never goes from one node to another
// but through detached.
func next(f facts) action {
	switch f.State {
	case "", lh.VolumeStateCreating:
		return settle
	case lh.VolumeStateAttached:
		switch {
		case f.Robustness != lh.VolumeRobustnessFaulted && (f.Engine != instance.Running || f.AllFailed):
			return fault
		case f.Robustness == lh.VolumeRobustnessFaulted || f.Wanted != f.Current:
			return closing
		}
		return nothing
	case lh.VolumeStateAttaching:
		if f.Wanted == "" || f.Robustness == lh.VolumeRobustnessFaulted {
			return closing
		}
		return open
	case lh.VolumeStateDetaching:
		return closing
	case lh.VolumeStateDetached:
		switch {
		case f.Robustness == lh.VolumeRobustnessFaulted:
			return recovery
		case f.Wanted != "" && f.Schedulable:
			return open
		case f.Wanted == "" && f.Stray:
			return closing
		}
	}
	return nothing
}
