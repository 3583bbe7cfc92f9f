package worker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/pkg/target"
)

// restore fills the attempt's own volume, or goes on with what a former owner
// began, and ends with a record of what every replica itself says it holds.
// Longhorn calls a volume healthy whose restore failed or was lost, so nothing
// but that record lets a VM have it. Any doubt fails the attempt: the next one
// gets a fresh volume.
func (r *run) restore(ctx context.Context, job *v1alpha1.RestoreJob) error {
	if r.report.job.Status.Record == nil {
		if err := r.fill(ctx, job); err != nil {
			return err
		}
	}
	// The record stands; nobody may have written to the volume since, for its
	// front end was off. A former owner may have left it attached.
	r.dropTickets(ctx)
	if r.resumed {
		if err := r.Attacher.DropOwn(ctx, job.Volume); err != nil {
			return err
		}
	}
	_, err := within(ctx, r.Limits.Detach, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Attacher.AwaitDetached(ctx, job.Volume)
	})
	return err
}

func (r *run) fill(ctx context.Context, job *v1alpha1.RestoreJob) error {
	if err := r.checkVolume(ctx, job); err != nil {
		return err
	}
	e, loc, err := r.engine(ctx, job.Volume, attach.FrontendOff)
	if err != nil {
		return err
	}
	if err := r.awaitReplicas(ctx, e, job, loc); err != nil {
		return err
	}
	transfer := r.report.job.Status.Transfer
	switch {
	case transfer == nil || !transfer.Started:
		if transfer, err = r.startRestore(ctx, e, job, loc); err != nil {
			return err
		}
	case transfer.EngineAddress != loc.Address:
		return restarted(job.Volume, transfer.EngineAddress, loc.Address)
	}
	if err := r.watchRestore(ctx, e, loc, job, *transfer); err != nil {
		return err
	}
	return r.record(ctx, e, job, loc)
}

// checkVolume makes sure that this is the volume made for this attempt.
func (r *run) checkVolume(ctx context.Context, job *v1alpha1.RestoreJob) error {
	var vol longhorn.Volume
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Attacher.Namespace, Name: job.Volume}, &vol)
	switch {
	case apierrors.IsNotFound(err):
		return failed(v1alpha1.ReasonVolumeNotFresh, true, "volume %s, made for this attempt, is gone", job.Volume)
	case err != nil:
		return fmt.Errorf("reading volume %s: %w", job.Volume, err)
	case vol.UID != job.VolumeUID:
		return failed(v1alpha1.ReasonVolumeNotFresh, true, "volume %s is not the one made for this attempt", job.Volume)
	case vol.Spec.Size != job.SizeBytes:
		return failed(v1alpha1.ReasonVolumeNotFresh, true, "volume %s has %d bytes, the backup %d", job.Volume, vol.Spec.Size, job.SizeBytes)
	}
	return nil
}

// awaitReplicas waits until the engine counts every replica of the volume as
// in use: one that joined later would be rebuilt from the others instead of
// being restored.
func (r *run) awaitReplicas(ctx context.Context, e Engine, job *v1alpha1.RestoreJob, loc attach.Location) error {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Attach)
	defer cancel()
	for {
		info, err := within(ctx, r.Limits.Call, e.Info)
		if err != nil {
			return err
		}
		if info.FrontendUp {
			return failed(v1alpha1.ReasonVolumeNotFresh, true, "volume %s has its front end on: somebody else attached it", job.Volume)
		}
		if info.SizeBytes != job.SizeBytes {
			return failed(v1alpha1.ReasonVolumeNotFresh, true, "the engine of volume %s has %d bytes, the backup %d", job.Volume, info.SizeBytes, job.SizeBytes)
		}
		if inUse := countRW(info.Replicas); inUse == len(loc.Replicas) && inUse == len(info.Replicas) && inUse > 0 {
			return nil
		}
		if err := pause(ctx, r.Limits.Poll); err != nil {
			return failed(v1alpha1.ReasonEngineUnavailable, true, "not every replica of volume %s came up: the engine has %v, Longhorn %d: %w", job.Volume, info.Replicas, len(loc.Replicas), err)
		}
	}
}

func countRW(replicas []engine.Replica) int {
	n := 0
	for _, rep := range replicas {
		if rep.Mode == engine.ModeRW {
			n++
		}
	}
	return n
}

func (r *run) startRestore(ctx context.Context, e Engine, job *v1alpha1.RestoreJob, loc attach.Location) (*v1alpha1.TransferStatus, error) {
	t, err := r.Targets.Resolve(ctx, job.Target, r.job.CreationTimestamp.Time)
	if err != nil {
		return nil, err
	}
	transfer := &v1alpha1.TransferStatus{Started: true, EngineAddress: loc.Address}
	if err := r.report.write(ctx, func(s *v1alpha1.NodeJobStatus) { s.Transfer = transfer }); err != nil {
		return nil, err
	}
	if err := r.held.Check(ctx); err != nil {
		return nil, fmt.Errorf("before starting the restore: %w", err)
	}
	_, err = within(ctx, r.Limits.Start, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.StartRestore(ctx, engine.RestoreRequest{
			BackupURL:  target.BackupURL(t.URL, job.SourceVolume, job.Backup),
			File:       names.RestoreDisk(job.Volume),
			Credential: t.Credential,
			Threads:    int(t.Threads),
		})
	})
	if err != nil {
		r.Targets.Forget(job.Target)
		what := "starting the restore of backup " + job.Backup
		if final := refused(what, job.Target, err.Error()); final != nil {
			return nil, final
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return transfer, nil
}

// restarted ends an attempt whose engine is another one than it began with: of
// what was restored by then nobody knows.
func restarted(volume, stood, stands string) error {
	return failed(v1alpha1.ReasonTransferLost, true, "the engine of volume %s was restarted during the restore (it stood at %s and is at %s now)", volume, stood, stands)
}

// restored: every replica says that this backup is the last one it restored.
func restored(statuses []engine.ReplicaRestore, backup string) bool {
	for _, s := range statuses {
		if s.Restoring || s.Error != "" || s.LastRestored != backup {
			return false
		}
	}
	return len(statuses) > 0
}

func (r *run) watchRestore(ctx context.Context, e Engine, loc attach.Location, job *v1alpha1.RestoreJob, transfer v1alpha1.TransferStatus) error {
	watch := newTransferWatch(r.Limits.Stall, r.Limits.Lost)
	site := site{volume: job.Volume, at: loc}
	replicas := 0
	for {
		statuses, err := within(ctx, r.Limits.Call, e.RestoreStatus)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			err = silentReplica(statuses)
		}
		if err != nil {
			if r.moved(ctx, &site) {
				return restarted(job.Volume, loc.Address, site.at.Address)
			}
			if watch.unreachable(time.Now()) {
				return failed(v1alpha1.ReasonTransferLost, true, "no answer for %s during the restore: %w", r.Limits.Lost, err)
			}
			if err := pause(ctx, r.Limits.Poll); err != nil {
				return err
			}
			continue
		}
		replicas = max(replicas, len(statuses))
		if err := failedReplica(statuses, replicas, job); err != nil {
			return err
		}
		if restored(statuses, job.Backup) {
			return nil
		}
		slowest := 100
		sum := int64(0)
		for _, s := range statuses {
			slowest = min(slowest, s.Progress)
			sum += int64(s.Progress)
		}
		if watch.stalled(time.Now(), sum) {
			return failed(v1alpha1.ReasonStalled, true, "the restore of backup %s made no progress for %s (it stands at %d %%): is the target slow or hanging?", job.Backup, r.Limits.Stall, slowest)
		}
		transfer.Progress = &v1alpha1.Progress{BytesDone: job.SizeBytes * int64(min(slowest, 99)) / 100, BytesTotal: job.SizeBytes}
		if err := r.progress(ctx, transfer); err != nil {
			return err
		}
		if err := pause(ctx, watch.interval(r.Limits.Poll)); err != nil {
			return err
		}
	}
}

// silentReplica: a replica that the engine still uses gives no answer. It does
// so too while it starts, until the target has answered it.
func silentReplica(statuses []engine.ReplicaRestore) error {
	for _, s := range statuses {
		if s.State == engine.StateUnreachable && s.Mode != engine.ModeERR {
			return fmt.Errorf("replica %s: %s", s.Address, s.Error)
		}
	}
	return nil
}

// failedReplica finds the first replica that failed or dropped out.
func failedReplica(statuses []engine.ReplicaRestore, replicas int, job *v1alpha1.RestoreJob) error {
	backup := job.Backup
	for _, s := range statuses {
		if s.Mode == engine.ModeERR {
			return failed(v1alpha1.ReasonReplicasDiffer, true, "the engine gave up replica %s during the restore of backup %s", s.Address, backup)
		}
		if s.Error != "" || s.State == engine.StateError {
			what := fmt.Sprintf("replica %s could not restore backup %s", s.Address, backup)
			return targetFailed(what, job.Target, orState(s.Error, s.State))
		}
		if !s.Restoring && s.LastRestored != backup && s.Current != backup {
			return failed(v1alpha1.ReasonTransferLost, true, "replica %s does not know of restoring backup %s any more: its process was restarted", s.Address, backup)
		}
	}
	if len(statuses) < replicas {
		return failed(v1alpha1.ReasonReplicasDiffer, true, "only %d of %d replicas are left of the restore of backup %s", len(statuses), replicas, backup)
	}
	return nil
}

// record reads everything once more, and writes down what it found, before the
// volume is detached.
func (r *run) record(ctx context.Context, e Engine, job *v1alpha1.RestoreJob, began attach.Location) error {
	loc, err := r.Attacher.Locate(ctx, job.Volume)
	if err != nil {
		return err
	}
	if loc.Address != began.Address || loc.EngineUID != began.EngineUID {
		return restarted(job.Volume, began.Address, loc.Address)
	}
	info, err := within(ctx, r.Limits.Call, e.Info)
	if err != nil {
		return err
	}
	statuses, err := within(ctx, r.Limits.Call, e.RestoreStatus)
	if err != nil {
		return err
	}
	if !restored(statuses, job.Backup) || len(statuses) != len(loc.Replicas) || countRW(info.Replicas) != len(loc.Replicas) || info.FrontendUp {
		return failed(v1alpha1.ReasonReplicasDiffer, true, "after the restore not every replica of volume %s holds backup %s: %v", job.Volume, job.Backup, statuses)
	}
	said := map[string]string{} // replica address -> backup it last restored
	for _, s := range statuses {
		said[s.Address] = s.LastRestored
	}
	rec := &v1alpha1.RestoreRecord{
		Attempt: job.Attempt, VolumeUID: job.VolumeUID, Backup: job.Backup,
		Engine: loc.Engine, EngineUID: loc.EngineUID, EngineAddress: loc.Address, RecordedAt: *now(),
	}
	for name, address := range loc.Replicas {
		last, ok := said[address]
		if !ok {
			return failed(v1alpha1.ReasonReplicasDiffer, true, "replica %s at %s took no part in the restore", name, address)
		}
		rec.Replicas = append(rec.Replicas, v1alpha1.ReplicaRecord{Name: name, Address: address, LastRestored: last})
	}
	sortReplicas(rec.Replicas)
	if err := r.held.Check(ctx); err != nil {
		return fmt.Errorf("before recording the restore: %w", err)
	}
	r.count(job.SizeBytes)
	return r.report.write(ctx, func(s *v1alpha1.NodeJobStatus) {
		s.Record = rec
		s.Transfer.Progress = &v1alpha1.Progress{BytesDone: job.SizeBytes, BytesTotal: job.SizeBytes}
	})
}

func sortReplicas(rs []v1alpha1.ReplicaRecord) {
	slices.SortFunc(rs, func(a, b v1alpha1.ReplicaRecord) int { return cmp.Compare(a.Name, b.Name) })
}
