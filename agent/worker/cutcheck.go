package worker

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// checkRoom refuses a cut of which not every disk could be cut: an engine counts
// its snapshots only when it is asked for one more.
func (r *run) checkRoom(ctx context.Context, cutters []cutter) error {
	return each(cutters, func(c cutter) error {
		usage, err := within(ctx, r.Limits.Call, c.engine.SnapshotUsage)
		if err != nil {
			return err
		}
		if usage.Room() == 0 {
			return failed(v1alpha1.ReasonSnapshotLimit, false,
				"volume %s of disk %s has no room for another snapshot: it has %d of %d (Longhorn's setting snapshot-max-count), and %d of %d with those that are being removed; delete snapshots of this VM, or Longhorn's own",
				c.volume, c.disk, usage.Count, usage.Max, usage.Chain, engine.ChainMax)
		}
		return nil
	})
}

// checkCut makes sure that every replica in use shows every snapshot of a cut. A
// Snapshot point rests on nothing else.
func (r *run) checkCut(ctx context.Context, cutters []cutter, number int32) error {
	return each(cutters, func(c cutter) error {
		name := names.Snapshot(r.job.Spec.Owner.UID, number, c.disk)
		held, err := within(ctx, r.Limits.Call, c.engine.Snapshots)
		if err != nil {
			return err
		}
		if s, ok := held[name]; !ok || s.Removed {
			return fmt.Errorf("%w: disk %s (volume %s) does not show %s after it was cut", engine.ErrSnapshotMissing, c.disk, c.volume, name)
		}
		return nil
	})
}

// each asks all disks at once.
func each(cutters []cutter, ask func(cutter) error) error {
	var g errgroup.Group
	for _, c := range cutters {
		g.Go(func() error { return ask(c) })
	}
	return g.Wait()
}
