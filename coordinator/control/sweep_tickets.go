package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/names"
)

// tickets removes attachment tickets of ours that nobody holds on to any more.
// Longhorn never removes tickets, and a volume stays attached while one is
// there. Tickets of others are not looked at.
func (s *sweeper) tickets(ctx context.Context) error {
	var list longhorn.VolumeAttachmentList
	if err := s.c.cache.List(ctx, &list, client.InNamespace(s.c.LonghornNamespace), client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	busy, err := s.busy(ctx, s.c.cache)
	if err != nil {
		return err
	}
	for i := range list.Items {
		va := &list.Items[i]
		for id := range va.Spec.AttachmentTickets {
			session, epoch, ours := names.ParseTicket(id)
			if !ours || busy[va.Name] || !s.ripe("ticket/"+va.Name+"/"+id) {
				continue
			}
			if err := s.ticket(ctx, va.Name, id, session, epoch); err != nil {
				return err
			}
		}
	}
	return nil
}

// ticket removes one ticket after reading live that it stands, that its session
// does not hold the volume at its epoch, and that no job will adopt it.
func (s *sweeper) ticket(ctx context.Context, volume, id, session string, epoch int64) error {
	var va longhorn.VolumeAttachment
	err := s.c.live.Get(ctx, client.ObjectKey{Namespace: s.c.LonghornNamespace, Name: volume}, &va)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the attachment of volume %s: %w", volume, err)
	}
	if va.Spec.AttachmentTickets[id] == nil {
		return nil
	}
	holds, err := s.holds(ctx, volume, session, epoch)
	if err != nil || holds {
		return err
	}
	if busy, err := s.busy(ctx, s.c.live); err != nil || busy[volume] {
		return err
	}
	return s.c.removeTicket(ctx, &va, id)
}

// removeTicket removes one ticket of ours from an attachment that was read live.
func (c *Controller) removeTicket(ctx context.Context, va *longhorn.VolumeAttachment, id string) error {
	path := "/spec/attachmentTickets/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(id)
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": path + "/id", "value": id},
		{"op": "remove", "path": path},
	})
	if err != nil {
		return fmt.Errorf("encoding the removal of ticket %s: %w", id, err)
	}
	err = c.client.Patch(ctx, va, client.RawPatch(types.JSONPatchType, patch))
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil // gone, or changed meanwhile
	}
	if err != nil {
		return fmt.Errorf("removing ticket %s of volume %s: %w", id, va.Name, err)
	}
	c.removed("ticket", va.Name+"/"+id)
	return nil
}

// holds: the volume's lease is the session's at this epoch. That of a session
// that has ended is given back by the sweep of leases first.
func (s *sweeper) holds(ctx context.Context, volume, session string, epoch int64) (bool, error) {
	var l coordinationv1.Lease
	err := s.c.live.Get(ctx, client.ObjectKey{Namespace: s.c.Namespace, Name: names.VolumeLease(volume)}, &l)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the lease of volume %s: %w", volume, err)
	}
	return holder(&l) == session && l.Spec.LeaseTransitions != nil && int64(*l.Spec.LeaseTransitions) == epoch, nil
}
