package worker

import (
	"context"
	"fmt"
	"time"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/agent/quiesce"
	"hayloft.dev/pkg/api/v1alpha1"
)

// hooked is what became of a VM's hooks around the cuts of one run.
type hooked struct {
	vm       string
	declared hooks.Hooks
	wrong    error // the VM's annotations make no sense
	before   hooks.Ran
	after    hooks.Ran
	// over has what is for afterwards run; nil: there is nothing to.
	over func(context.Context) hooks.Ran
}

// sighting is what a look at the guest has shown.
type sighting struct {
	guest quiesce.Guest
	err   error
}

// beforeCuts has what the VM declares for before a cut run, of one that runs and
// is to be asked. now is a look that was just taken, and so is seen; nil: that is too
// old by then. Whatever it returns, afterCuts must follow.
func (r *run) beforeCuts(ctx context.Context, g *v1alpha1.CutGuest, now *sighting) (h hooked, seen *sighting) {
	if g == nil || now.err != nil || !now.guest.Running || g.Policy == v1alpha1.QuiesceNever {
		return hooked{}, now
	}
	found := now.guest
	h = hooked{vm: g.Namespace + "/" + g.VM, declared: found.Hooks, wrong: found.HooksWrong}
	if h.wrong != nil || h.declared == (hooks.Hooks{}) {
		return h, now
	}
	h.before, h.over = r.Guests.Hooks(ctx, *g, found)
	return h, nil
}

// afterCuts has what the VM declares for afterwards run, whatever became of the
// cuts and of the job.
func (r *run) afterCuts(ctx context.Context, h *hooked) {
	if h.over == nil {
		return
	}
	h.after = h.over(context.WithoutCancel(ctx))
	for _, ran := range h.ran() {
		r.Observer.Hooked(ran.hook, ran.Error == "", ran.Took)
	}
	for _, s := range h.statuses() {
		if s.Failed {
			r.Log.Warn("a hook of a VM failed", "job", r.job.Name, "vm", h.vm, "hook", s.Hook, "message", s.Message)
		}
	}
}

// stops is why nothing is to be cut; nil: nothing speaks against it.
func (h hooked) stops() error {
	switch {
	case h.wrong != nil:
		return failed(v1alpha1.ReasonHookFailed, false, "the hooks of VM %s are not understood: %w", h.vm, h.wrong)
	case h.declared.Before != nil && h.declared.Before.Must && h.before.Error != "":
		return failed(v1alpha1.ReasonHookFailed, false, "the hook %s of VM %s failed, and its on-error is Fail: %s", hooks.Before, h.vm, h.before.Error)
	}
	return nil
}

// spoils is why a cut that is good does not count.
func (h hooked) spoils() error {
	if h.declared.After != nil && h.declared.After.Must && h.after.Error != "" {
		return failed(v1alpha1.ReasonHookFailed, false, "the hook %s of VM %s failed, and its on-error is Fail: %s", hooks.After, h.vm, h.after.Error)
	}
	return nil
}

// ran is how those ended that are declared.
func (h hooked) ran() (out []ranHook) {
	for _, ran := range []ranHook{{"pre", h.before}, {"post", h.after}} {
		if ran.Declared {
			out = append(out, ran)
		}
	}
	return out
}

// ranHook is how one hook ended; hook is pre or post.
type ranHook struct {
	hook string
	hooks.Ran
}

// statuses are for the point.
func (h hooked) statuses() (out []v1alpha1.HookStatus) {
	for _, ran := range h.ran() {
		took := ran.Took.Round(time.Millisecond)
		s := v1alpha1.HookStatus{Hook: ran.hook, Failed: ran.Error != "", Message: fmt.Sprintf("ended well after %s", took)}
		if s.Failed {
			s.Message = cutShort(oneLine(fmt.Sprintf("%s (after %s)", ran.Error, took)), 1000)
		}
		out = append(out, s)
	}
	return out
}
