package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
)

// clone fills the attempt's own volume from a snapshot of another volume, both
// leased, and ends as a restore does: with a record of what every replica itself
// says it holds, on which alone a VM gets the volume. The source may be in use
// meanwhile. Any doubt fails the attempt: the next one gets a fresh volume.
func (r *run) clone(ctx context.Context, job *v1alpha1.CloneJob) error {
	if r.report.job.Status.Record == nil {
		if err := r.fillClone(ctx, job); err != nil {
			return err
		}
	}
	r.dropTickets(ctx)
	if r.resumed {
		for _, volume := range []string{job.Volume, job.SourceVolume} {
			if err := r.Attacher.DropOwn(ctx, volume); err != nil && !errors.Is(err, attach.ErrGone) {
				return err
			}
		}
	}
	_, err := within(ctx, r.Limits.Detach, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Attacher.AwaitDetached(ctx, job.Volume)
	})
	return err
}

func (r *run) fillClone(ctx context.Context, job *v1alpha1.CloneJob) error {
	fresh := &v1alpha1.RestoreJob{Disk: job.Disk, Volume: job.Volume, VolumeUID: job.VolumeUID, SizeBytes: job.SizeBytes, Attempt: job.Attempt}
	if err := r.checkVolume(ctx, fresh); err != nil {
		return err
	}
	_, source, err := r.engine(ctx, job.SourceVolume, attach.FrontendAny)
	if errors.Is(err, attach.ErrGone) {
		return failed(v1alpha1.ReasonSnapshotMissing, false, "volume %s, which has the snapshot to clone, is gone: %w", job.SourceVolume, err)
	}
	if err != nil {
		return err
	}
	e, loc, err := r.engine(ctx, job.Volume, attach.FrontendOff)
	if err != nil {
		return err
	}
	if err := r.awaitReplicas(ctx, e, fresh, loc); err != nil {
		return err
	}
	started, err := r.startedClone(ctx, e, job, loc, source)
	if err != nil {
		return err
	}
	if err := r.watchClone(ctx, e, loc, job, started); err != nil {
		return err
	}
	return r.recordClone(ctx, e, job, loc, started)
}

// startedClone starts the clone, or finds what a former owner started.
func (r *run) startedClone(ctx context.Context, e Engine, job *v1alpha1.CloneJob, loc, source attach.Location) (engine.CloneStarted, error) {
	t := r.report.job.Status.Transfer
	switch {
	case t == nil || !t.Started:
		return r.startClone(ctx, e, job, loc, source)
	case t.EngineAddress != loc.Address:
		return engine.CloneStarted{}, restarted(job.Volume, t.EngineAddress, loc.Address)
	case t.Replica == "":
		// A fresh volume costs less than a doubt.
		return engine.CloneStarted{}, failed(v1alpha1.ReasonTransferLost, true, "whoever began to clone into volume %s stopped before the engine had answered", job.Volume)
	}
	return engine.CloneStarted{Snapshot: job.Snapshot, Created: t.SnapshotCreated, From: t.Replica}, nil
}

func (r *run) startClone(ctx context.Context, e Engine, job *v1alpha1.CloneJob, loc, source attach.Location) (engine.CloneStarted, error) {
	transfer := &v1alpha1.TransferStatus{Started: true, EngineAddress: loc.Address}
	if err := r.report.write(ctx, func(s *v1alpha1.NodeJobStatus) { s.Transfer = transfer }); err != nil {
		return engine.CloneStarted{}, err
	}
	if err := r.held.Check(ctx); err != nil {
		return engine.CloneStarted{}, fmt.Errorf("before starting the clone: %w", err)
	}
	started, err := within(ctx, r.Limits.Start, func(ctx context.Context) (engine.CloneStarted, error) {
		return e.StartClone(ctx, engine.CloneRequest{Source: address(source), Snapshot: job.Snapshot})
	})
	if err != nil {
		return started, err
	}
	return started, r.report.write(ctx, func(s *v1alpha1.NodeJobStatus) {
		s.Transfer.Replica, s.Transfer.SnapshotCreated = started.From, started.Created
		s.Transfer.Progress = &v1alpha1.Progress{BytesTotal: job.SizeBytes}
	})
}

func (r *run) watchClone(ctx context.Context, e Engine, loc attach.Location, job *v1alpha1.CloneJob, started engine.CloneStarted) error {
	watch := newTransferWatch(r.Limits.Stall, r.Limits.Lost)
	site := site{volume: job.Volume, at: loc}
	replicas := 0
	for {
		statuses, err := within(ctx, r.Limits.Call, e.CloneStatus)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = silentClone(statuses)
		}
		if err != nil {
			if r.moved(ctx, &site) {
				return restarted(job.Volume, loc.Address, site.at.Address)
			}
			if watch.unreachable(time.Now()) {
				return failed(v1alpha1.ReasonTransferLost, true, "no answer for %s during the clone: %w", r.Limits.Lost, err)
			}
			if err := pause(ctx, r.Limits.Poll); err != nil {
				return err
			}
			continue
		}
		replicas = max(replicas, len(statuses))
		done, slowest, sum, err := cloneProgress(statuses, replicas, job, started)
		if err != nil || done {
			return err
		}
		if watch.stalled(time.Now(), sum) {
			return failed(v1alpha1.ReasonStalled, true, "the clone of snapshot %s made no progress for %s (it stands at %d %%): does the source's replica at %s hang?", job.Snapshot, r.Limits.Stall, slowest, started.From)
		}
		t := *r.report.job.Status.Transfer
		t.Progress = &v1alpha1.Progress{BytesDone: job.SizeBytes * int64(min(slowest, 99)) / 100, BytesTotal: job.SizeBytes}
		if err := r.progress(ctx, t); err != nil {
			return err
		}
		if err := pause(ctx, watch.interval(r.Limits.Poll)); err != nil {
			return err
		}
	}
}

// silentClone: a replica that the engine still uses gives no answer.
func silentClone(statuses []engine.ReplicaClone) error {
	for _, s := range statuses {
		if s.State == engine.StateUnreachable && s.Mode != engine.ModeERR {
			return fmt.Errorf("replica %s: %s", s.Address, s.Error)
		}
	}
	return nil
}

// cloneProgress tells whether all replicas have ended well, how far the slowest
// is and the sum of all, in percent. It is an error when one failed or dropped
// out.
func cloneProgress(statuses []engine.ReplicaClone, replicas int, job *v1alpha1.CloneJob, started engine.CloneStarted) (done bool, slowest int, sum int64, err error) {
	if len(statuses) < replicas {
		return false, 0, 0, failed(v1alpha1.ReasonReplicasDiffer, true, "only %d of %d replicas are left of the clone of snapshot %s", len(statuses), replicas, job.Snapshot)
	}
	done, slowest = true, 100
	for _, s := range statuses {
		switch {
		case s.Mode == engine.ModeERR:
			return false, 0, 0, failed(v1alpha1.ReasonReplicasDiffer, true, "the engine gave up replica %s during the clone of snapshot %s", s.Address, job.Snapshot)
		case s.Error != "" || s.State == engine.StateError:
			return false, 0, 0, failed(v1alpha1.ReasonEngineError, true, "replica %s could not clone snapshot %s from %s: %s", s.Address, job.Snapshot, started.From, orState(s.Error, s.State))
		case s.Snapshot != job.Snapshot:
			return false, 0, 0, failed(v1alpha1.ReasonTransferLost, true, "replica %s does not know of cloning snapshot %s any more: its process was restarted", s.Address, job.Snapshot)
		}
		done = done && s.State == engine.StateComplete && !s.Cloning
		slowest = min(slowest, s.Progress)
		sum += int64(s.Progress)
	}
	return done, slowest, sum, nil
}

// recordClone has everything checked once more and writes down what was found,
// before the volume is detached.
func (r *run) recordClone(ctx context.Context, e Engine, job *v1alpha1.CloneJob, began attach.Location, started engine.CloneStarted) error {
	loc, err := r.Attacher.Locate(ctx, job.Volume)
	if err != nil {
		return err
	}
	if loc.Address != began.Address || loc.EngineUID != began.EngineUID {
		return restarted(job.Volume, began.Address, loc.Address)
	}
	source, err := r.Attacher.Locate(ctx, job.SourceVolume)
	if err != nil {
		return fmt.Errorf("the source after the clone: %w", err)
	}
	said, err := within(ctx, r.Limits.Call, func(ctx context.Context) ([]engine.ReplicaClone, error) {
		return e.CheckClone(ctx, address(source), started)
	})
	if err != nil {
		return err
	}
	cloned := map[string]string{} // replica address -> snapshot that it proved to hold
	for _, s := range said {
		cloned[s.Address] = s.Snapshot
	}
	if len(said) != len(loc.Replicas) {
		return failed(v1alpha1.ReasonReplicasDiffer, true, "%d replicas of volume %s hold snapshot %s, but it has %d", len(said), job.Volume, job.Snapshot, len(loc.Replicas))
	}
	rec := &v1alpha1.RestoreRecord{
		Attempt: job.Attempt, VolumeUID: job.VolumeUID, Snapshot: job.Snapshot, SnapshotCreated: started.Created,
		Engine: loc.Engine, EngineUID: loc.EngineUID, EngineAddress: loc.Address, RecordedAt: *now(),
	}
	for name, at := range loc.Replicas {
		snapshot, ok := cloned[at]
		if !ok {
			return failed(v1alpha1.ReasonReplicasDiffer, true, "replica %s at %s took no part in the clone", name, at)
		}
		rec.Replicas = append(rec.Replicas, v1alpha1.ReplicaRecord{Name: name, Address: at, Cloned: snapshot})
	}
	sortReplicas(rec.Replicas)
	if err := r.held.Check(ctx); err != nil {
		return fmt.Errorf("before recording the clone: %w", err)
	}
	r.count(job.SizeBytes)
	return r.report.write(ctx, func(s *v1alpha1.NodeJobStatus) {
		s.Record = rec
		s.Transfer.Progress = &v1alpha1.Progress{BytesDone: job.SizeBytes, BytesTotal: job.SizeBytes}
	})
}
