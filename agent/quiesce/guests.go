package quiesce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Way is how a guest is brought to rest.
type Way string

// The ways; "" is none.
const (
	ByFreeze Way = "freeze" // its agent freezes its file systems
	ByPause  Way = "pause"  // the container in which it runs stands still
)

// Guest is what was found of a VM's guest.
type Guest struct {
	// Running: there is an instance of this very VM that has not come to its
	// end, so something may write to the disks.
	Running bool
	// Agent: a guest agent is connected, which alone can freeze file systems.
	Agent bool
	// Node on which it runs, and its pods, UID -> the node of each; a VM that
	// migrates has two.
	Node string
	Pods map[types.UID]string
	// Hooks that the VM declares; HooksWrong when its annotations make no sense.
	Hooks      hooks.Hooks
	HooksWrong error
	// Way by which it can be brought to rest, as it is wanted; if there is none,
	// Why may say more than that there is no agent.
	Way Way
	Why string
	// Beside are the PersistentVolumes of which whatever else has them mounted is to
	// be paused along; none: nothing is. Unreached says why that cannot be all of it.
	Beside    []string
	Unreached string
	// UsedOn are the nodes on which other workloads than the VM have them attached.
	UsedOn []string
}

// Guests brings guests to rest by the way that each of them has.
type Guests struct {
	*KubeVirt
	Pauser  *Pauser // nil: nothing is paused
	Volumes Volumes // asked only where there is a pauser
}

// Look finds out whether the VM runs, how it can be brought to rest, and what else
// has its disks.
func (q *Guests) Look(ctx context.Context, g v1alpha1.CutGuest, disks []v1alpha1.CutDisk) (Guest, error) {
	found, err := q.KubeVirt.Look(ctx, g)
	if err != nil {
		return found, err
	}
	if q.Pauser == nil {
		found.Way, found.Why = choose(g, found, "")
		return found, nil
	}
	found.Way, found.Why = choose(g, found, q.Pauser.Node)
	if !pausesOthers(g) || found.Running && found.Way == "" {
		return found, nil
	}
	uses := make([]use, len(disks))
	for i, d := range disks {
		uses[i].volume = d.Volume
		if uses[i].persistent, uses[i].nodes, err = q.Volumes.Use(ctx, d.Volume); err != nil {
			return found, err
		}
	}
	return beside(found, q.Pauser.Node, uses), nil
}

// Freeze brings a guest to rest by the way that was found. It goes on by itself
// when the deadline has passed. A pause is one of what else has the disks too, which
// is returned in words.
func (q *Guests) Freeze(ctx context.Context, g v1alpha1.CutGuest, found Guest) (others []string, err error) {
	if found.Way == ByPause {
		return q.Pauser.Freeze(ctx, g, found)
	}
	return nil, q.KubeVirt.Freeze(ctx, g)
}

// FreezeOthers pauses what has the disks of a VM that is stopped, or whose guest is
// frozen, for the limit at most; it returns what that is, in words.
func (q *Guests) FreezeOthers(ctx context.Context, g v1alpha1.CutGuest, found Guest, limit time.Duration) ([]string, error) {
	return q.Pauser.FreezeOthers(ctx, g, found, limit)
}

// ThawOthers lets that go on. An error says that it may have gone on before.
func (q *Guests) ThawOthers(ctx context.Context, g v1alpha1.CutGuest) error {
	return q.Pauser.ThawOthers(ctx, g)
}

// Thaw lets a guest go on that rests by the way that was found. After a pause an
// error says that it may have gone on before.
func (q *Guests) Thaw(ctx context.Context, g v1alpha1.CutGuest, found Guest) error {
	if found.Way == ByPause {
		return q.Pauser.Thaw(ctx, g)
	}
	return q.KubeVirt.Thaw(ctx, g)
}

// Hooks has what the VM declares for before a cut run, and returns how that ended
// and what has the rest run when the cut is over, which is to be called once. What
// ends the process in between has the rest run too.
func (q *Guests) Hooks(ctx context.Context, g v1alpha1.CutGuest, found Guest) (before hooks.Ran, after func(context.Context) hooks.Ran) {
	node := ""
	if q.Pauser != nil {
		node = q.Pauser.Node
	}
	if why := cannotHook(found, node); why != nil {
		return notRun(found.Hooks, why)
	}
	return q.Pauser.hooks(ctx, g, found)
}

// cannotHook is why a VM's hooks cannot be run; nil: they can be.
func cannotHook(found Guest, node string) error {
	switch pods := len(podsOn(found, node)); {
	case node == "":
		return errors.New("the agents here were not given a pauser that could run it (--pauser-socket)")
	case found.Node != node:
		return fmt.Errorf("the VM runs on node %q, and the agent of node %q cuts its disks, which cannot run it there", found.Node, node)
	case pods != 1:
		return fmt.Errorf("KubeVirt names %d pods of the VM on node %s, and it runs in one", pods, node)
	}
	return nil
}

// notRun says of every hook why it was not.
func notRun(h hooks.Hooks, why error) (before hooks.Ran, after func(context.Context) hooks.Ran) {
	said := func(h *hooks.Hook) hooks.Ran {
		if h == nil {
			return hooks.Ran{}
		}
		return hooks.Ran{Declared: true, Error: why.Error()}
	}
	return said(h.Before), func(context.Context) hooks.Ran { return said(h.After) }
}

// choose is the way for a guest that was found so, and why there is none. node is
// the one on which containers can be paused; "": nowhere.
func choose(g v1alpha1.CutGuest, found Guest, node string) (Way, string) {
	wanted := g.Method == v1alpha1.QuiescePause
	switch {
	case !found.Running || g.Policy == v1alpha1.QuiesceNever:
		return "", ""
	case found.Agent && !wanted:
		return ByFreeze, ""
	case g.Method == v1alpha1.QuiesceFreeze:
		return "", ""
	case node == "" && !wanted:
		return "", ""
	case !wanted && g.Policy == v1alpha1.QuiesceRequired:
		return "", "spec.quiesce.method Pause would be content with a pause"
	case node == "":
		return "", "spec.quiesce.method Pause: the agents here were not given a pauser (--pauser-socket)"
	case found.Node != node:
		return "", fmt.Sprintf("the VM runs on node %q, and the agent of node %q cuts its disks, which cannot pause it there", found.Node, node)
	case len(podsOn(found, node)) == 0:
		return "", fmt.Sprintf("KubeVirt names no pod of the VM on node %s, so it cannot be paused", node)
	}
	return ByPause, ""
}

// podsOn are the guest's pods on a node.
func podsOn(found Guest, node string) []types.UID {
	var all []types.UID
	for uid, on := range found.Pods {
		if on == node {
			all = append(all, uid)
		}
	}
	return all
}
