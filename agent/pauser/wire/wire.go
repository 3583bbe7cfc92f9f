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
package wire

import "time"

// Request asks for containers to be paused, all of them or none.
type Request struct {
	Pods []Pod `json:"pods"`
	// Container is the name of one container of each pod; empty: all of them.
	Container string `json:"container,omitempty"`
	// Limit is how long they may stand still at most, in nanoseconds, from when
	// the first is paused. The pauser may have a shorter one.
	Limit time.Duration `json:"limit"`
}

// Pod is a pod of this node. Both fields must be given.
type Pod struct {
	Namespace string `json:"namespace"`
	UID       string `json:"uid"`
}

// Reply: every container asked for is paused, or Error says why none is.
type Reply struct {
	Error string `json:"error,omitempty"`
	// Limit that is in force.
	Limit time.Duration `json:"limit,omitempty"`
}

// Release ends a hold.
type Release struct{}

// Released: the containers run. Error says why they did not stand still until
// the hold was to end.
type Released struct {
	Error string `json:"error,omitempty"`
}
