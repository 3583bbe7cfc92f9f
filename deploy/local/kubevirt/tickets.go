package kubevirt

import (
	"context"
	"crypto/sha256"
	"fmt"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
)

// tickets attaches volumes as Longhorn's CSI driver does for a pod.
type tickets struct {
	client    client.Client
	namespace string // Longhorn's
}

// ticketID is the name that the CSI driver gives: it follows from volume and node.
func ticketID(volume, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(volume+disk.Driver+node)))
}

// ensure adds the ticket, unless it is there, and tells whether it is satisfied and the volume attached to the node, or
// migrating to it: the status of a ticket of the same name that was removed a moment ago may still be there.
func (t tickets) ensure(ctx context.Context, volume, node string) (isSatisfied bool, _ error) {
	id := ticketID(volume, node)
	err := t.change(ctx, volume, func(va *longhorn.VolumeAttachment) bool {
		if va.Spec.AttachmentTickets[id] != nil {
			isSatisfied = longhorn.IsAttachmentTicketSatisfied(id, va)
			return false
		}
		if va.Spec.AttachmentTickets == nil {
			va.Spec.AttachmentTickets = map[string]*longhorn.AttachmentTicket{}
		}
		va.Spec.AttachmentTickets[id] = &longhorn.AttachmentTicket{
			ID: id, Type: longhorn.AttacherTypeCSIAttacher, NodeID: node,
			Parameters: map[string]string{
				longhorn.AttachmentParameterDisableFrontend: longhorn.FalseValue,
				longhorn.AttachmentParameterLastAttachedBy:  "",
			},
		}
		return true
	})
	if err != nil || !isSatisfied {
		return false, err
	}
	v, err := t.volume(ctx, volume)
	if err != nil {
		return false, err
	}
	return v.Status.State == longhorn.VolumeStateAttached && (v.Status.CurrentNodeID == node || v.Status.CurrentMigrationNodeID == node), nil
}

// remove takes the ticket away. A volume that is gone has none.
func (t tickets) remove(ctx context.Context, volume, node string) error {
	id := ticketID(volume, node)
	err := t.change(ctx, volume, func(va *longhorn.VolumeAttachment) bool {
		if va.Spec.AttachmentTickets[id] == nil {
			return false
		}
		delete(va.Spec.AttachmentTickets, id)
		return true
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// change edits the volume's attachment; edit tells whether there is anything to write.
func (t tickets) change(ctx context.Context, volume string, edit func(*longhorn.VolumeAttachment) bool) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var va longhorn.VolumeAttachment
		if err := t.client.Get(ctx, client.ObjectKey{Namespace: t.namespace, Name: volume}, &va); err != nil {
			return err
		}
		if !edit(&va) {
			return nil
		}
		return t.client.Update(ctx, &va)
	})
}

// size is the volume's size in bytes.
func (t tickets) size(ctx context.Context, volume string) (int64, error) {
	v, err := t.volume(ctx, volume)
	return v.Spec.Size, err
}

func (t tickets) volume(ctx context.Context, name string) (longhorn.Volume, error) {
	var v longhorn.Volume
	if err := t.client.Get(ctx, client.ObjectKey{Namespace: t.namespace, Name: name}, &v); err != nil {
		return v, fmt.Errorf("reading volume %s: %w", name, err)
	}
	return v, nil
}
