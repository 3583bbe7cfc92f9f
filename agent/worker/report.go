package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// errOutdated: the job's status belongs to somebody with a newer lease, or the
// job is finished, gone, or another node's.
var errOutdated = errors.New("the job is not ours any more")

// writeTries bounds how often one write is tried again after a conflict, which
// only a change of spec.nodeName or another owner can cause.
const writeTries = 4

// reporter writes a job's status: at once what matters, seldom what is only
// progress.
type reporter struct {
	client   client.Client
	job      *v1alpha1.NodeJob // as last written
	interval time.Duration
	last     time.Time // monotonic, of the last write
}

func newReporter(c client.Client, job *v1alpha1.NodeJob, interval time.Duration) *reporter {
	return &reporter{client: c, job: job.DeepCopy(), interval: interval}
}

// write changes the status by compare-and-swap. On a conflict it reads the
// live job and goes on only if nobody with another session or a higher epoch
// has written it.
func (r *reporter) write(ctx context.Context, change func(*v1alpha1.NodeJobStatus)) error {
	for try := 1; ; try++ {
		next := r.job.DeepCopy()
		change(&next.Status)
		err := r.client.Status().Update(ctx, next)
		switch {
		case err == nil:
			r.job, r.last = next, time.Now()
			return nil
		case apierrors.IsNotFound(err), apierrors.IsInvalid(err):
			// Invalid: the CRD's rule on epochs or on finished jobs.
			return fmt.Errorf("%w: %w", errOutdated, err)
		case !apierrors.IsConflict(err) || try == writeTries:
			return fmt.Errorf("writing the status of job %s: %w", r.job.Name, err)
		}
		if err := r.refresh(ctx, &next.Status); err != nil {
			return err
		}
	}
}

// refresh takes up a newer version of the job; mine is what we meant to write.
func (r *reporter) refresh(ctx context.Context, mine *v1alpha1.NodeJobStatus) error {
	var live v1alpha1.NodeJob
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(r.job), &live); apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: it was deleted", errOutdated)
	} else if err != nil {
		return fmt.Errorf("reading job %s: %w", r.job.Name, err)
	}
	if live.Spec.NodeName != r.job.Spec.NodeName {
		return fmt.Errorf("%w: it went to node %s", errOutdated, live.Spec.NodeName)
	}
	if finished(&live) || overtaken(mine, &live.Status) {
		return fmt.Errorf("%w: session %s wrote it", errOutdated, live.Status.Session)
	}
	r.job = &live
	return nil
}

// overtaken: the stored status was written under a newer lease of any volume.
func overtaken(mine, stored *v1alpha1.NodeJobStatus) bool {
	for volume, epoch := range stored.Epochs {
		if epoch > mine.Epochs[volume] {
			return true
		}
	}
	return false
}

// progress writes how far a transfer is, not more often than the interval and
// only when it moved by a hundredth or something else changed. What was waited
// for before is over then.
func (r *reporter) progress(ctx context.Context, t v1alpha1.TransferStatus) error {
	if time.Since(r.last) < r.interval || r.job.Status.Message == "" && !moved(r.job.Status.Transfer, &t) {
		return nil
	}
	return r.write(ctx, func(s *v1alpha1.NodeJobStatus) { s.Transfer, s.Message = &t, "" })
}

func moved(old, now *v1alpha1.TransferStatus) bool {
	if old == nil || old.Progress == nil || now.Progress == nil {
		return true
	}
	delta := now.Progress.BytesDone - old.Progress.BytesDone
	return old.Progress.BytesTotal != now.Progress.BytesTotal || delta*100 >= now.Progress.BytesTotal && delta > 0
}

// message says what is waited for, if it is not said already.
func (r *reporter) message(ctx context.Context, text string) error {
	if r.job.Status.Message == text {
		return nil
	}
	return r.write(ctx, func(s *v1alpha1.NodeJobStatus) { s.Message = text })
}

func (r *reporter) finish(ctx context.Context, change func(*v1alpha1.NodeJobStatus)) error {
	return r.write(ctx, func(s *v1alpha1.NodeJobStatus) {
		change(s)
		s.CompletedAt = now()
	})
}

func now() *metav1.Time { t := metav1.Now(); return &t }

// shorten keeps a message within the CRD's limit.
func shorten(s string) string { return cutShort(s, 2048) }

func cutShort(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return s[:limit] + " ..."
}
