// Package wire is what an agent and the pauser of its node say to each other:
// one JSON message a line over a unix socket, one connection for each hold.
//
//	agent: Request    have these containers stand still
//	pauser: Reply     they do, or none of them does
//	agent: Release    let them go on
//	pauser: Released  they go on
//
// The connection is the hold: when it breaks, the containers are let go. So an
// agent that is killed holds nothing.
//
// In the same way it has the hooks of a pod run, on a connection of their own:
//
//	agent: Request    with Hooks: run what the pod declares for before a cut
//	pauser: Ran
//	agent: Release    the cut is over: run what it declares for afterwards
//	pauser: Ran
//
// When that connection breaks, what is for afterwards is run at once. No command
// ever goes over the wire.
package wire

import "time"

// Request asks for containers to be paused, all of them or none.
type Request struct {
	Pods []Pod `json:"pods"`
	// Container is the name of one container of each pod; empty: all of them.
	Container string `json:"container,omitempty"`
	// Users asks for what has volumes mounted, beside Pods or in place of them; nil:
	// for nothing.
	Users *Users `json:"users,omitempty"`
	// Limit is how long they may stand still at most, in nanoseconds, from when
	// the first is paused. The pauser may have a shorter one.
	Limit time.Duration `json:"limit"`
	// Hooks asks for those of the one pod in place of a pause; Container, Users and
	// Limit mean nothing then.
	Hooks bool `json:"hooks,omitempty"`
}

// Pod is a pod of this node. Both fields must be given.
type Pod struct {
	Namespace string `json:"namespace"`
	UID       string `json:"uid"`
}

// Users are the containers of this node which may write to volumes, of whichever
// pod. The pauser finds them by what the kubelet has had mounted into them, so the
// agent need not know which pods there are.
type Users struct {
	// Namespace of the pods, and so of the volumes' claims.
	Namespace string `json:"namespace"`
	// Volumes are the names of PersistentVolumes.
	Volumes []string `json:"volumes"`
	// Except are the UIDs of pods that are not meant.
	Except []string `json:"except,omitempty"`
}

// Reply: every container asked for is paused, or Error says why none is.
type Reply struct {
	Error string `json:"error,omitempty"`
	// Users that were found and are paused, in words; there may be none.
	Users []string `json:"users,omitempty"`
	// Limit that is in force.
	Limit time.Duration `json:"limit,omitempty"`
}

// Ran tells of a hook.
type Ran struct {
	// Declared: the pod has such a hook.
	Declared bool `json:"declared,omitempty"`
	// Error says how it failed; empty: it ended with exit code 0.
	Error string `json:"error,omitempty"`
	// Took is how long it ran, in nanoseconds.
	Took time.Duration `json:"took,omitempty"`
}

// Release ends a hold.
type Release struct{}

// Released: the containers run. Error says why they did not stand still until
// the hold was to end.
type Released struct {
	Error string `json:"error,omitempty"`
}
