package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hayloft.dev/agent/attach"
	"hayloft.dev/pkg/api/v1alpha1"
)

// verdict is how failed work is reported. Work on a volume whose workload
// stopped, moved or wanted it is nobody's fault: it is to be done again where
// the engine runs by then, however often that happens.
func (r *run) verdict(ctx context.Context, err error) *failure {
	f := classify(ctx, err)
	if !f.retryable || f.reason == v1alpha1.ReasonVolumeWanted || f.reason == v1alpha1.ReasonDeadlineExceeded || !interruptible(r.job) {
		return f
	}
	left := r.left(context.WithoutCancel(ctx))
	if left == "" && f.reason == v1alpha1.ReasonTransferLost {
		left = r.restarted(context.WithoutCancel(ctx))
	}
	if left != "" {
		return &failure{v1alpha1.ReasonVolumeWanted, true, fmt.Errorf("%s: %w", left, f)}
	}
	return f
}

// restarted says that the VM was started since the job was made; "" that it was
// not, or that nobody could tell. One that stops and starts between two looks is
// found where it was, with another engine.
func (r *run) restarted(ctx context.Context) string {
	g := guest(r.job)
	if g.Name == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Call)
	defer cancel()
	if since, err := r.Attacher.StartedSince(ctx, g, r.job.CreationTimestamp); err != nil || !since {
		return ""
	}
	return fmt.Sprintf("VM %s was stopped and started again", g.Name)
}

// interruptible: the work is on a VM's own volumes, or on one of them.
func interruptible(job *v1alpha1.NodeJob) bool { return job.Spec.Restore == nil }

// ofVM: a volume of the job is the VM's, not one that was made for the job.
func ofVM(job *v1alpha1.NodeJob, volume string) bool {
	return job.Spec.Clone == nil || volume == job.Spec.Clone.SourceVolume
}

// left names the volumes whose engines their workloads have let go of since
// this run found them; "" when there is none, or nobody could tell.
func (r *run) left(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Call)
	defer cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []string
	for volume, loc := range r.sites {
		if !ofVM(r.job, volume) {
			continue
		}
		if left, err := r.Attacher.Left(ctx, loc); err == nil && left {
			gone = append(gone, fmt.Sprintf("volume %s was stopped on node %s, or wanted elsewhere", volume, loc.Node))
		}
	}
	slices.Sort(gone)
	return strings.Join(gone, "; ")
}

// undisturbed does work again, until the job's deadline, when it failed because
// a workload wanted a volume, and a few times when an engine ended under it. The
// work looks before it acts.
func (r *run) undisturbed(ctx context.Context, work func(context.Context) error) error {
	ended := 0
	for {
		err := work(ctx)
		if err == nil || ctx.Err() != nil || lost(err) {
			return err
		}
		f := r.verdict(ctx, err)
		if f.reason != v1alpha1.ReasonVolumeWanted {
			// It crashed, or its VM was started again where it ran. An engine that
			// ends because of the work itself must not be ended for ever.
			if ended++; !r.engineEnded(f) || ended >= r.Limits.Cuts {
				return err
			}
		}
		if merr := r.report.message(ctx, shorten("waiting: "+f.Error())); merr != nil {
			return merr
		}
		r.Log.Info("the engine was stopped, or is wanted by a workload; trying again", "job", r.job.Name, "error", err)
		r.again = true
		r.forgetSites()
		if perr := pause(ctx, r.Limits.RetryFloor<<ended); perr != nil {
			return fmt.Errorf("%w: %w", perr, err)
		}
	}
}

// engineEnded: an engine that this run had found does not answer any more.
func (r *run) engineEnded(f *failure) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f.reason == v1alpha1.ReasonEngineUnavailable && len(r.sites) > 0
}

func (r *run) forgetSites() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sites = nil
}

// wanted: the volume could not be had because of a workload.
func wanted(err error) bool {
	return errors.Is(err, attach.ErrWanted) || errors.Is(err, attach.ErrMigrating)
}
