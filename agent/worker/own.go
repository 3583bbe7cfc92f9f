package worker

import (
	"context"
	"fmt"
	"time"

	"hayloft.dev/agent/quiesce"
	"hayloft.dev/pkg/api/v1alpha1"
)

// look finds out how a guest stands; nil: nobody asked.
func (r *run) look(ctx context.Context, g *v1alpha1.CutGuest) *sighting {
	if g == nil {
		return nil
	}
	found, err := within(ctx, r.Limits.Call, func(ctx context.Context) (quiesce.Guest, error) { return r.Guests.Look(ctx, *g, r.job.Spec.Cut.Disks) })
	return &sighting{found, err}
}

// awaitOwn keeps a cut until the agent of the node has it that alone can do what the
// VM or its point insists on. The coordinator knows whether such an agent lives, and
// takes the job from here as soon as it does. nil: this agent can cut. say is told for
// which node's agent is waited.
func (r *run) awaitOwn(ctx context.Context, g *v1alpha1.CutGuest, seen *sighting, say func(node, message string) error) error {
	if g == nil || seen.err != nil {
		return nil // what to make of that is decided when it is to rest
	}
	node, own := r.Guests.Elsewhere(*g, seen.guest)
	if node == "" {
		return nil
	}
	vm := g.Namespace + "/" + g.VM
	began, told := time.Now(), ""
	for {
		if told != node {
			if err := say(node, fmt.Sprintf("waiting: %s, and only the agent there can %s", where(vm, node, own), own)); err != nil {
				return err
			}
			told = node
		}
		// What is left then is for saying so.
		if end, limited := ctx.Deadline(); limited && time.Until(end) <= r.Limits.Call {
			return unheard(g, node, own, time.Since(began))
		}
		if err := pause(ctx, r.Limits.Report); err != nil {
			return err
		}
		if seen = r.look(ctx, g); seen.err != nil {
			continue
		}
		now, what := r.Guests.Elsewhere(*g, seen.guest)
		if now == "" {
			// It stopped, or came here: its engines are not where they were found.
			return failed(v1alpha1.ReasonVolumeWanted, true, "it is not so any more that %s", where(vm, node, own))
		}
		node, own = now, what
	}
}

// where says what of a VM is on the node whose agent is waited for.
func where(vm, node string, own quiesce.Own) string {
	if own == quiesce.OwnOthers {
		return fmt.Sprintf("what has the disks of VM %s is on node %s", vm, node)
	}
	return fmt.Sprintf("VM %s runs on node %s", vm, node)
}

// unheard is the failure of a cut that no agent of that node has taken up.
func unheard(g *v1alpha1.CutGuest, node string, own quiesce.Own, waited time.Duration) error {
	reason, what := v1alpha1.ReasonQuiesceFailed, fmt.Sprintf("the guest of VM %s was not brought to rest, which spec.quiesce.policy Required asks for: it runs on node %s", g.VM, node)
	switch own {
	case quiesce.OwnHooks:
		reason, what = v1alpha1.ReasonHookFailed, fmt.Sprintf("the hooks of VM %s were not run, and their on-error is Fail: it runs on node %s", g.VM, node)
	case quiesce.OwnOthers:
		what = fmt.Sprintf("VM %s does not run, but what has its disks was not paused, which spec.quiesce.policy Required asks for: it is on node %s", g.VM, node)
	}
	return failed(reason, false, "%s, only the agent there can %s, and that one has not taken the cut up within %s", what, own, waited.Round(time.Second))
}
