package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// cutter is one disk to cut and the engine that does it.
type cutter struct {
	disk   string
	volume string
	engine Engine
}

// cut cuts every disk of the job within one window. A cut that did not get all
// disks in time is removed again and made anew under the next number, since a
// snapshot name is never used twice.
func (r *run) cut(ctx context.Context, job *v1alpha1.CutJob) error {
	cutters := make([]cutter, len(job.Disks))
	var g errgroup.Group
	for i, d := range job.Disks {
		g.Go(func() error {
			e, _, err := r.engine(ctx, d.Volume, attach.FrontendAny)
			cutters[i] = cutter{disk: d.Name, volume: d.Volume, engine: e}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}

	number := int32(0)
	if c := r.report.job.Status.Cut; c != nil {
		number = c.Number
	}
	if r.resumed || r.again {
		// Whether the former owner's snapshots fell into one window, nobody
		// knows any more; those of a cut that was interrupted did not.
		if number > 0 {
			if err := r.discard(ctx, cutters, number); err != nil {
				return err
			}
		}
		number++
		if err := r.number(ctx, number); err != nil {
			return err
		}
	}
	if r.resumed && !r.again && job.Guest != nil && job.Guest.Policy != v1alpha1.QuiesceNever && job.Guest.Method != v1alpha1.QuiescePause {
		// The former owner may have frozen the guest; its dead-man must not end
		// the rest that this owner asks for. A pause ended with its process.
		if err := r.thaw(ctx, job.Guest, time.Now()); err != nil {
			r.Log.Warn("could not thaw a guest that a former owner may have frozen", "job", r.job.Name, "error", err)
		}
	}
	if err := r.checkRoom(ctx, cutters); err != nil {
		return err
	}
	now := r.look(ctx, job.Guest)
	if err := r.awaitOwn(ctx, job.Guest, now, r.callFor(ctx, number)); err != nil {
		return err
	}
	around, seen := r.beforeCuts(ctx, job.Guest, now)
	counts, err := goodCut{}, around.stops()
	if err == nil {
		counts, err = r.cuts(ctx, cutters, number, job, seen)
	}
	r.afterCuts(ctx, &around)
	if err != nil {
		return err
	}
	if spoilt := around.spoils(); spoilt != nil {
		return errors.Join(spoilt, r.discard(ctx, cutters, counts.number))
	}
	r.recordCut(cutters, counts, around.statuses())
	return nil
}

// goodCut is a cut that counts.
type goodCut struct {
	number int32
	began  time.Time // when the first engine was asked
	window time.Duration
	still  rest
}

// cuts cuts until one counts, a few times at most.
func (r *run) cuts(ctx context.Context, cutters []cutter, number int32, job *v1alpha1.CutJob, seen *sighting) (goodCut, error) {
	var last error
	for range r.Limits.Cuts {
		began, window, rest, err := r.cutOnce(ctx, cutters, number, job, seen)
		seen = nil
		if err == nil {
			err = r.checkCut(ctx, cutters, number)
		}
		if err == nil {
			return goodCut{number, began, window, rest}, nil
		}
		if ctx.Err() != nil || lost(err) {
			return goodCut{}, err
		}
		last = err
		r.Observer.CutDiscarded()
		if err := r.discard(ctx, cutters, number); err != nil {
			return goodCut{}, errors.Join(last, err)
		}
		if f := (*failure)(nil); errors.As(err, &f) || errors.Is(err, engine.ErrFrontendDown) || errors.Is(err, engine.ErrSnapshotLimit) {
			return goodCut{}, err
		}
		number++
		if err := r.number(ctx, number); err != nil {
			return goodCut{}, err
		}
	}
	return goodCut{}, failed(v1alpha1.ReasonCutWindowExceeded, true, "the disks could not be cut within %d ms in %d tries: %w", job.WindowMilliseconds, r.Limits.Cuts, last)
}

func (r *run) number(ctx context.Context, n int32) error {
	return r.report.write(ctx, func(s *v1alpha1.NodeJobStatus) { s.Cut = &v1alpha1.CutStatus{Number: n} })
}

// callFor says in the job's status that the agent of another node is waited for.
func (r *run) callFor(ctx context.Context, number int32) func(node, message string) error {
	return func(node, message string) error {
		return r.report.write(ctx, func(s *v1alpha1.NodeJobStatus) {
			s.Cut, s.Message = &v1alpha1.CutStatus{Number: number, GuestNode: node}, message
		})
	}
}

// cutOnce asks all engines at once, while the guest rests. It returns when the
// first was asked and how long it took until the last one was cut, by the
// monotonic clock.
func (r *run) cutOnce(ctx context.Context, cutters []cutter, number int32, job *v1alpha1.CutJob, seen *sighting) (time.Time, time.Duration, rest, error) {
	window := time.Duration(job.WindowMilliseconds) * time.Millisecond
	if err := r.held.Check(ctx); err != nil {
		return time.Time{}, 0, rest{}, fmt.Errorf("before cutting: %w", err)
	}
	still := r.hush(ctx, job.Guest, seen)
	if !still.hopeful() {
		return time.Time{}, 0, still, still.unrested()
	}
	began := time.Now()
	err := r.cutAll(ctx, cutters, number, window)
	took := time.Since(began)
	r.let(ctx, &still)
	if err == nil && took > window {
		err = fmt.Errorf("cutting took %s, longer than the window of %s", took.Round(time.Millisecond), window)
	}
	if err == nil && !still.good() {
		err = still.unrested()
	}
	return began, took, still, err
}

func (r *run) cutAll(ctx context.Context, cutters []cutter, number int32, window time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	var g errgroup.Group
	for _, c := range cutters {
		g.Go(func() error {
			name := names.Snapshot(r.job.Spec.Owner.UID, number, c.disk)
			if err := c.engine.CutSnapshot(ctx, name, map[string]string{v1alpha1.LabelPoint: string(r.job.Spec.Owner.UID)}); err != nil {
				return fmt.Errorf("cutting disk %s (volume %s): %w", c.disk, c.volume, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// discard removes what a cut that does not count left on the engines. The
// removed snapshots are merged away by the next purge of the volume.
func (r *run) discard(ctx context.Context, cutters []cutter, number int32) error {
	var g errgroup.Group
	for _, c := range cutters {
		g.Go(func() error {
			dctx, cancel := context.WithTimeout(ctx, r.Limits.Call)
			defer cancel()
			if err := c.engine.RemoveSnapshot(dctx, names.Snapshot(r.job.Spec.Owner.UID, number, c.disk)); err != nil {
				return fmt.Errorf("removing cut %d of disk %s: %w", number, c.disk, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (r *run) recordCut(cutters []cutter, c goodCut, hooks []v1alpha1.HookStatus) {
	snapshots := make(map[string]string, len(cutters))
	for _, d := range cutters {
		snapshots[d.disk] = names.Snapshot(r.job.Spec.Owner.UID, c.number, d.disk)
	}
	at := metav1.NewMicroTime(c.began)
	reached, why := c.still.reached()
	r.Observer.Cut(string(reached), string(c.still.way()), c.window, c.still.frozen)
	r.result = func(s *v1alpha1.NodeJobStatus) {
		s.Cut = &v1alpha1.CutStatus{
			Number: c.number, StartedAt: &at, WindowMicroseconds: c.window.Microseconds(), Snapshots: snapshots, Hooks: hooks,
			Consistency: reached, ConsistencyMessage: cutShort(why, 1000), FrozenMicroseconds: c.still.frozen.Microseconds(),
		}
	}
}
