package longhorn

import (
	"context"
	"errors"
	"fmt"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"hayloft.dev/deploy/local/longhorn/admission"
	"hayloft.dev/deploy/local/longhorn/observe"
)

const disablePurge = "disable-snapshot-purge" // the setting that keeps removed snapshots in their chains

// tendSnapshots does what Snapshot objects ask for: one that was made with createSnapshot is cut, one that is being
// deleted is taken out of the engine before its object goes. A volume that is detached is attached for either, with a
// ticket of the type snapshot-controller. It says waiting when there is more to do later.
func (v *volumes) tendSnapshots(ctx context.Context, vol *volume) error {
	var list lh.SnapshotList
	if err := v.client.List(ctx, &list, v.of(vol.Name)...); err != nil {
		return fmt.Errorf("reading its snapshots: %w", err)
	}
	var later error
	for i := range list.Items {
		s := &list.Items[i]
		var err error
		switch {
		case s.DeletionTimestamp != nil:
			err = v.takeOutSnapshot(ctx, vol, s)
		case s.Spec.CreateSnapshot && s.Status.CreationTime == "":
			err = v.cutSnapshot(ctx, vol, s)
		default:
			err = v.dropSnapshotTicket(ctx, vol, s)
		}
		if err == nil {
			continue
		}
		var wait waiting
		if !errors.As(err, &wait) && !apierrors.IsConflict(err) {
			v.log.Warn("snapshot", "volume", vol.Name, "name", s.Name, "error", err)
		}
		later = waiting{forWhat: "snapshot " + s.Name, after: waitInterval}
	}
	return later
}

// cutSnapshot asks the engine for a snapshot; the poll then makes its object's status. Like the real one it does not ask
// whether the engine has a front end, without which this version of it panics.
func (v *volumes) cutSnapshot(ctx context.Context, vol *volume, s *lh.Snapshot) error {
	if vol.isMigrating() {
		return waiting{forWhat: migration}
	}
	if added, err := v.addSnapshotTicket(ctx, vol, s); added || err != nil {
		return err
	}
	a, latest := v.polled(vol)
	if latest == nil || latest.Snapshots[s.Name] != nil {
		return waiting{forWhat: "the engine"}
	}
	asked, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	if err := v.instances.CutSnapshot(asked, a.engine, s.Name, s.Spec.Labels); err != nil {
		s.Status.Error = err.Error()
		return errors.Join(err, v.client.Status().Update(ctx, s))
	}
	a.poke()
	return nil
}

// takeOutSnapshot marks a snapshot as removed, purges, and lets its object go when the engine shows it no more. One that
// is the head's parent cannot be purged: it stays, marked, until another one is cut, and keeps no volume attached.
func (v *volumes) takeOutSnapshot(ctx context.Context, vol *volume, s *lh.Snapshot) error {
	if vol.isMigrating() {
		return waiting{forWhat: migration}
	}
	shown := vol.engine.Status.Snapshots[s.Name]
	if shown != nil && s.Status.MarkRemoved && s.Status.Children[observe.Head] {
		return v.dropSnapshotTicket(ctx, vol, s)
	}
	switch disabled, err := v.setting(ctx, disablePurge); {
	case err != nil:
		return err
	case disabled == "true":
		return v.dropSnapshotTicket(ctx, vol, s)
	}
	if added, err := v.addSnapshotTicket(ctx, vol, s); added || err != nil {
		return err
	}
	a, latest := v.polled(vol)
	if latest == nil {
		return waiting{forWhat: "the engine"}
	}
	info := latest.Snapshots[s.Name]
	if info == nil {
		if err := v.dropSnapshotTicket(ctx, vol, s); err != nil {
			return err
		}
		return v.release(ctx, s)
	}
	asked, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	defer a.poke()
	if !info.Removed {
		if err := v.instances.RemoveSnapshot(asked, a.engine, s.Name); err != nil {
			return err
		}
	}
	if err := v.instances.Purge(asked, a.engine); err != nil {
		return err
	}
	return waiting{forWhat: "the purge"}
}

// polled is the attendance of a volume's running engine and its last poll with snapshots, nil when there is none yet.
func (v *volumes) polled(vol *volume) (*attendance, *observe.Report) {
	a := v.attendanceOf(vol.engine.Name)
	if a == nil || vol.Status.State != lh.VolumeStateAttached || !v.isRunning(vol.engine.Name) {
		return nil, nil
	}
	latest, _ := a.learned()
	if latest == nil || latest.Snapshots == nil {
		if !v.timing.waitsForPoll {
			a.poke()
		}
		return nil, nil
	}
	return a, latest
}

func (v *volumes) addSnapshotTicket(ctx context.Context, vol *volume, s *lh.Snapshot) (added bool, err error) {
	id := lh.GetAttachmentTicketID(lh.AttacherTypeSnapshotController, s.Name)
	if vol.attachment.Spec.AttachmentTickets[id] != nil {
		return false, nil
	}
	changed := vol.attachment.DeepCopy()
	if changed.Spec.AttachmentTickets == nil {
		changed.Spec.AttachmentTickets = map[string]*lh.AttachmentTicket{}
	}
	changed.Spec.AttachmentTickets[id] = &lh.AttachmentTicket{
		ID: id, Type: lh.AttacherTypeSnapshotController, NodeID: vol.Status.OwnerID,
		Parameters: map[string]string{lh.AttachmentParameterDisableFrontend: lh.AnyValue},
	}
	return true, v.changeTickets(ctx, vol, changed)
}

func (v *volumes) dropSnapshotTicket(ctx context.Context, vol *volume, s *lh.Snapshot) error {
	id := lh.GetAttachmentTicketID(lh.AttacherTypeSnapshotController, s.Name)
	if vol.attachment.Spec.AttachmentTickets[id] == nil {
		return nil
	}
	changed := vol.attachment.DeepCopy()
	delete(changed.Spec.AttachmentTickets, id)
	return v.changeTickets(ctx, vol, changed)
}

func (v *volumes) changeTickets(ctx context.Context, vol *volume, changed *lh.VolumeAttachment) error {
	if err := v.client.Update(ctx, changed); err != nil {
		return fmt.Errorf("writing tickets: %w", err)
	}
	vol.attachment = changed
	return nil
}

// release lets a deleted object go.
func (v *volumes) release(ctx context.Context, s *lh.Snapshot) error {
	if !controllerutil.RemoveFinalizer(s, admission.Finalizer) {
		return nil
	}
	return client.IgnoreNotFound(v.client.Update(ctx, s))
}

// releaseSnapshots lets all deleted objects of a volume go that is gone itself.
func (v *volumes) releaseSnapshots(ctx context.Context, volume string) error {
	var list lh.SnapshotList
	if err := v.client.List(ctx, &list, v.of(volume)...); err != nil {
		return fmt.Errorf("reading its snapshots: %w", err)
	}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			continue
		}
		if err := v.release(ctx, &list.Items[i]); err != nil {
			return fmt.Errorf("letting snapshot %s go: %w", list.Items[i].Name, err)
		}
	}
	return nil
}
