package control

import (
	"context"
	"fmt"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// stays tells whether the caches show everything that a kept point needs, so that
// no closer look is due. There may be tens of thousands of such points, and each
// is looked at again and again.
func (r *backups) stays(ctx context.Context, b *v1alpha1.VMBackup) bool {
	if b.Status.Phase != v1alpha1.BackupReady || b.Status.CompletedAt == nil || time.Since(b.Status.CompletedAt.Time) < r.Plan.LossGrace {
		return false
	}
	vm := virtualMachines()
	err := r.cache.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Spec.VM}, vm, client.UnsafeDisableDeepCopy)
	if err != nil || vm.UID != b.Status.SourceUID {
		return false
	}
	for i := range b.Status.Disks {
		d := &b.Status.Disks[i]
		if !d.Listed || !r.cache.Has(r.LonghornNamespace, d.Volume, d.Snapshot) {
			return false
		}
	}
	if jobs, err := r.jobs.of(ctx, b.UID); err != nil || len(jobs) > 0 {
		return false
	}
	r.missing.forget(b.UID)
	return true
}

// toStay: Longhorn's object of a disk's engine snapshot is there to stay. A clone
// has a snapshot of the same name: that of another volume says nothing.
func toStay(s *longhorn.Snapshot, d *v1alpha1.BackupDisk) bool {
	return s.Spec.Volume == d.Volume && s.DeletionTimestamp.IsZero() && !s.Status.MarkRemoved
}

// lookSpread is when to look at a kept point again, on average after every. Those
// that were looked at together, when a leader began, are so no more.
func lookSpread(every time.Duration, point types.UID) time.Duration {
	return every/2 + schedule.Jitter(every, string(point))
}

// look finds out what a kept point lacks, and since when. As long as the caches
// show everything, it asks the API server for nothing.
func (r *backups) look(ctx context.Context, b *v1alpha1.VMBackup) (k plan.Kept, err error) {
	gone, err := r.vmGone(ctx, b)
	if err != nil {
		return k, err
	}
	if gone {
		k.VMGone = r.missing.since(b.UID, "", true)
		return k, nil
	}
	r.missing.since(b.UID, "", false)
	young := b.Status.CompletedAt != nil && time.Since(b.Status.CompletedAt.Time) < r.Plan.LossGrace
	if b.Status.Phase == v1alpha1.BackupDataLost || young {
		return k, nil
	}
	for _, d := range b.Status.Disks {
		f, err := r.lost(ctx, d, true)
		if err != nil {
			return k, fmt.Errorf("looking for disk %s: %w", d.Name, err)
		}
		if since := r.missing.since(b.UID, d.Name, f.lost != ""); f.lost != "" {
			k.Losses = append(k.Losses, plan.Loss{Disk: d.Name, What: f.lost, Since: since, Doubtful: f.doubtful})
		}
		if f.listed {
			k.Listed = append(k.Listed, d.Name)
		}
	}
	return k, nil
}

// vmGone: the VM that the point was taken of does not exist any more. One that
// the cache lacks is only gone if the API server lacks it too. Another VM of its
// name is not it.
func (r *backups) vmGone(ctx context.Context, b *v1alpha1.VMBackup) (bool, error) {
	for _, from := range []client.Reader{r.cache, r.live} {
		vm := virtualMachines()
		err := from.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Spec.VM}, vm)
		switch {
		case err == nil && vm.UID == b.Status.SourceUID:
			return false, nil
		case client.IgnoreNotFound(err) != nil:
			return false, fmt.Errorf("looking for VM %s: %w", b.Spec.VM, err)
		}
	}
	return true, nil
}

// finding is what was found of a disk of a kept point.
type finding struct {
	// lost says what is missing, "" for nothing; doubtful as in plan.Loss.
	lost     string
	doubtful bool
	// listed: Longhorn shows the disk's engine snapshot.
	listed bool
}

// lost finds out what of a disk is missing. Longhorn keeps a Snapshot object for
// each snapshot of an engine that it has asked, so one that is there and stays is
// proof enough. What Longhorn shows of an engine is some seconds old, and for a
// while after it was attached even older, so its list counts (listed) only for
// whoever looks again after a grace time. How old it is does not stand in it: it is
// surely younger than the cut only if it has shown the snapshot before.
func (c *Controller) lost(ctx context.Context, d v1alpha1.BackupDisk, listed bool) (f finding, err error) {
	var volume longhorn.Volume
	exists, err := c.get(ctx, c.LonghornNamespace, d.Volume, &volume)
	switch {
	case err != nil:
		return f, err
	case !exists:
		f.lost = fmt.Sprintf("Longhorn volume %s was deleted, and its engine snapshot %s with it", d.Volume, d.Snapshot)
		return f, nil
	}
	there, staying, err := c.snapshot(ctx, c.cache, d)
	if err != nil || staying {
		f.listed = staying
		return f, err
	}
	// A volume that was detached right after the cut gets its Snapshot object
	// only when it is attached again.
	saw := c.missing.sawDeleted(d.Volume, d.Snapshot)
	if !there && !saw && (!listed || volume.Status.State != longhorn.VolumeStateAttached) {
		return f, nil
	}
	removed := fmt.Sprintf("engine snapshot %s was removed from volume %s, and not by Hayloft", d.Snapshot, d.Volume)
	there, staying, err = c.snapshot(ctx, c.live, d)
	switch {
	case err != nil || staying:
		f.listed = staying
		return f, err
	case there: // what Longhorn has begun to remove never comes back
		f.lost = removed
		return f, nil
	}
	shown, known, err := c.engineShows(ctx, d)
	if err != nil || shown || !known && !saw {
		f.listed = shown
		return f, err
	}
	f.lost, f.doubtful = removed, !saw && !d.Listed
	return f, nil
}

// snapshot tells whether Longhorn's object of a disk's engine snapshot exists,
// and whether it is there to stay. A clone has a snapshot of the same name, and
// there is only one object of a name: that of another volume says nothing.
func (c *Controller) snapshot(ctx context.Context, from client.Reader, d v1alpha1.BackupDisk) (there, staying bool, err error) {
	var s longhorn.Snapshot
	there, err = getFrom(ctx, from, c.LonghornNamespace, d.Snapshot, &s)
	there = there && s.Spec.Volume == d.Volume
	return there, there && toStay(&s, &d), err
}

// engineShows tells whether the engine of a disk's volume shows its snapshot;
// known is false when there is no engine that runs and was asked by Longhorn
// since it was started. Longhorn keeps the list of snapshots while a volume is
// detached, and with it one that is older than the cut. The modes of the replicas
// it clears when it stops asking, and writes together with the next list.
func (c *Controller) engineShows(ctx context.Context, d v1alpha1.BackupDisk) (shown, known bool, err error) {
	var engines longhorn.EngineList
	if err := c.live.List(ctx, &engines, client.InNamespace(c.LonghornNamespace), client.MatchingLabels{labelVolume: d.Volume}); err != nil {
		return false, false, fmt.Errorf("listing the engines of volume %s: %w", d.Volume, err)
	}
	if len(engines.Items) != 1 {
		return false, false, nil // detached for good, or migrating
	}
	e := engines.Items[0].Status
	if e.CurrentState != longhorn.InstanceStateRunning || len(e.ReplicaModeMap) == 0 || e.SnapshotsError != "" || len(e.Snapshots) == 0 {
		return false, false, nil // a volume has at least a head
	}
	s := e.Snapshots[d.Snapshot]
	return s != nil && !s.Removed, true, nil
}

// sources tells for each disk of a Snapshot point the size of its volume, and
// refuses where there is certainly nothing left to clone. Any other snapshot
// that is missing the clone finds out by itself: it asks the engine.
func (c *Controller) sources(ctx context.Context, b *v1alpha1.VMBackup) (sizes map[string]int64, refusals []string, err error) {
	sizes = map[string]int64{}
	for _, d := range b.Status.Disks {
		f, err := c.lost(ctx, d, false)
		if err != nil {
			return nil, nil, err
		}
		if f.lost != "" {
			refusals = append(refusals, fmt.Sprintf("disk %s: %s", d.Name, f.lost))
			continue
		}
		var v longhorn.Volume
		if err := c.live.Get(ctx, client.ObjectKey{Namespace: c.LonghornNamespace, Name: d.Volume}, &v); apierrors.IsNotFound(err) {
			refusals = append(refusals, fmt.Sprintf("disk %s: Longhorn volume %s was deleted", d.Name, d.Volume))
			continue
		} else if err != nil {
			return nil, nil, fmt.Errorf("reading Longhorn volume %s: %w", d.Volume, err)
		}
		sizes[d.Name] = v.Spec.Size
	}
	return sizes, refusals, nil
}
