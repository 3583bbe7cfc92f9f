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
	found, err := within(ctx, r.Limits.Call, func(ctx context.Context) (quiesce.Guest, error) { return r.Guests.Look(ctx, *g) })
	return &sighting{found, err}
}

// awaitOwn keeps a cut until the agent of the guest's own node has it, where that
// alone can do what the VM or its point insists on. The coordinator knows whether
// such an agent lives, and takes the job from here as soon as it does. nil: this
// agent can cut. say is told for which node's agent is waited.
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
			if err := say(node, fmt.Sprintf("waiting: VM %s runs on node %s, and only the agent there can %s", vm, node, own)); err != nil {
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
			return failed(v1alpha1.ReasonVolumeWanted, true, "VM %s does not run on node %s any more", vm, node)
		}
		node, own = now, what
	}
}

// unheard is the failure of a cut that no agent of the guest's node has taken up.
func unheard(g *v1alpha1.CutGuest, node string, own quiesce.Own, waited time.Duration) error {
	reason, what := v1alpha1.ReasonQuiesceFailed, "the guest of VM %s was not brought to rest, which spec.quiesce.policy Required asks for"
	if own == quiesce.OwnHooks {
		reason, what = v1alpha1.ReasonHookFailed, "the hooks of VM %s were not run, and their on-error is Fail"
	}
	return failed(reason, false, what+": it runs on node %s, only the agent there can %s, and that one has not taken the cut up within %s",
		g.VM, node, own, waited.Round(time.Second))
}
