// Package attach finds the engine of a Longhorn volume and, for a volume that
// is detached, has Longhorn attach it by an attachment ticket of our own.
//
// It never touches tickets of others, asks for none while a workload holds the
// volume (a second ticket would block a live migration), and moves no data.
package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/names"
)

// Frontend says how a ticket wants the volume's front end.
type Frontend string

// The values of a ticket's disableFrontend parameter, as Longhorn knows them.
const (
	// FrontendAny takes the front end as it is, or up: an engine without one
	// panics when a snapshot is asked of it.
	FrontendAny Frontend = "any"
	// FrontendOff is what a restore needs.
	FrontendOff Frontend = "true"
)

// retryFloor is the shortest time between two watches of one object.
const retryFloor = 200 * time.Millisecond

// Attacher works with the Longhorn objects in Namespace, uncached.
type Attacher struct {
	Client    client.WithWatch
	Namespace string
	Node      string // the agent's node, preferred where a volume may go anywhere
}

// Ticket is an attachment that we asked for. Its zero value means: none was
// needed.
type Ticket struct {
	Volume string
	ID     string
}

// Running returns the location of a volume whose engine runs, and otherwise
// asks for it to be attached with the given ticket id and waits for it. Tickets
// left on the volume by former owners are replaced; the caller must hold the
// volume's lease.
func (a *Attacher) Running(ctx context.Context, volume, ticketID string, fe Frontend) (Location, Ticket, error) {
	va, err := a.attachment(ctx, volume)
	if err != nil {
		return Location{}, Ticket{}, err
	}
	stale := ownTickets(va, ticketID)
	foreign := len(va.Spec.AttachmentTickets) > len(stale)
	if foreign && va.Spec.AttachmentTickets[ticketID] == nil {
		if err := a.drop(ctx, volume, stale...); err != nil {
			return Location{}, Ticket{}, err
		}
		loc, err := a.awaitEngine(ctx, volume)
		return loc, Ticket{}, err
	}

	node, err := a.nodeFor(ctx, volume)
	if err != nil {
		return Location{}, Ticket{}, err
	}
	t := Ticket{Volume: volume, ID: ticketID}
	if err := a.add(ctx, t, node, fe); err != nil {
		return Location{}, Ticket{}, err
	}
	if err := a.drop(ctx, volume, stale...); err != nil {
		return Location{}, t, err
	}
	if err := a.awaitSatisfied(ctx, t); err != nil {
		return Location{}, t, err
	}
	if err := a.awaitAttached(ctx, volume); err != nil {
		return Location{}, t, err
	}
	loc, err := a.awaitEngine(ctx, volume)
	return loc, t, err
}

// Release removes a ticket. A ticket or volume that is gone is not an error.
func (a *Attacher) Release(ctx context.Context, t Ticket) error {
	if t.ID == "" {
		return nil
	}
	return a.drop(ctx, t.Volume, t.ID)
}

// DropOwn removes every ticket of ours from a volume, former owners' too; the
// caller must hold the volume's lease.
func (a *Attacher) DropOwn(ctx context.Context, volume string) error {
	va, err := a.attachment(ctx, volume)
	if err != nil {
		return err
	}
	return a.drop(ctx, volume, ownTickets(va, "")...)
}

// awaitAttached waits until the volume itself is attached and meant to stay so.
// A ticket that comes while an earlier one's detaching is under way can be
// called satisfied by a controller that has not seen the volume go yet.
func (a *Attacher) awaitAttached(ctx context.Context, volume string) error {
	var list longhorn.VolumeList
	return a.await(ctx, volume, &list, "volume "+volume+" to be attached", func(o client.Object) (bool, error) {
		v := o.(*longhorn.Volume)
		return v.Status.State == longhorn.VolumeStateAttached && v.Spec.NodeID != "" && v.Spec.NodeID == v.Status.CurrentNodeID, nil
	})
}

// AwaitDetached waits until Longhorn says that the volume is detached.
func (a *Attacher) AwaitDetached(ctx context.Context, volume string) error {
	var list longhorn.VolumeList
	return a.await(ctx, volume, &list, "volume "+volume+" to be detached", func(o client.Object) (bool, error) {
		return o.(*longhorn.Volume).Status.State == longhorn.VolumeStateDetached, nil
	})
}

func (a *Attacher) attachment(ctx context.Context, volume string) (*longhorn.VolumeAttachment, error) {
	var va longhorn.VolumeAttachment
	err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: volume}, &va)
	if !apierrors.IsNotFound(err) {
		if err != nil {
			return nil, fmt.Errorf("reading the attachment of volume %s: %w", volume, err)
		}
		return &va, nil
	}
	// Longhorn makes the attachment a moment after the volume.
	var vol longhorn.Volume
	if err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: volume}, &vol); apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("volume %s: %w", volume, ErrGone)
	} else if err != nil {
		return nil, fmt.Errorf("reading volume %s: %w", volume, err)
	}
	if vol.Spec.DataEngine == longhorn.DataEngineTypeV2 {
		return nil, fmt.Errorf("volume %s has data engine v2, of which Hayloft reads and writes nothing: %w", volume, ErrNotSupported)
	}
	var list longhorn.VolumeAttachmentList
	err = a.await(ctx, volume, &list, "the attachment of volume "+volume+" to exist", func(o client.Object) (bool, error) {
		va = *o.(*longhorn.VolumeAttachment).DeepCopy()
		return true, nil
	})
	return &va, err
}

// ownTickets are the ids on a volume that carry our prefix, but for keep.
func ownTickets(va *longhorn.VolumeAttachment, keep string) []string {
	var ids []string
	for id := range va.Spec.AttachmentTickets {
		if id != keep && strings.HasPrefix(id, names.TicketPrefix) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// nodeFor is the node to attach a volume to: where it is already, else this
// agent's if it holds a replica, else one that does.
func (a *Attacher) nodeFor(ctx context.Context, volume string) (string, error) {
	var vol longhorn.Volume
	if err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: volume}, &vol); err != nil {
		return "", fmt.Errorf("reading volume %s: %w", volume, err)
	}
	if vol.Spec.DataEngine == longhorn.DataEngineTypeV2 {
		return "", fmt.Errorf("volume %s has data engine v2, of which Hayloft reads and writes nothing: %w", volume, ErrNotSupported)
	}
	if vol.Spec.NodeID != "" {
		return vol.Spec.NodeID, nil
	}
	var replicas longhorn.ReplicaList
	if err := a.Client.List(ctx, &replicas, client.InNamespace(a.Namespace), client.MatchingLabels{labelVolume: volume}); err != nil {
		return "", fmt.Errorf("listing the replicas of volume %s: %w", volume, err)
	}
	return chooseNode(a.Node, replicas.Items), nil
}

func chooseNode(own string, replicas []longhorn.Replica) string {
	var nodes []string
	for _, r := range replicas {
		if r.Spec.NodeID != "" && r.Spec.FailedAt == "" {
			nodes = append(nodes, r.Spec.NodeID)
		}
	}
	if len(nodes) == 0 || slices.Contains(nodes, own) {
		return own
	}
	return slices.Min(nodes)
}

// add puts one key into the ticket map by a merge patch, which leaves every
// other ticket alone and makes the map where there is none.
func (a *Attacher) add(ctx context.Context, t Ticket, node string, fe Frontend) error {
	return a.patch(ctx, t.Volume, map[string]any{t.ID: map[string]any{
		"id":     t.ID,
		"type":   string(longhorn.AttacherTypeBackupController),
		"nodeID": node,
		"parameters": map[string]string{
			longhorn.AttachmentParameterDisableFrontend: string(fe),
		},
	}})
}

func (a *Attacher) drop(ctx context.Context, volume string, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	keys := make(map[string]any, len(ids))
	for _, id := range ids {
		keys[id] = nil
	}
	return client.IgnoreNotFound(a.patch(ctx, volume, keys))
}

func (a *Attacher) patch(ctx context.Context, volume string, tickets map[string]any) error {
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"attachmentTickets": tickets}})
	if err != nil {
		return fmt.Errorf("encoding the tickets of volume %s: %w", volume, err)
	}
	va := &longhorn.VolumeAttachment{}
	va.Namespace, va.Name = a.Namespace, volume
	if err := a.Client.Patch(ctx, va, client.RawPatch(types.MergePatchType, body)); err != nil {
		return fmt.Errorf("changing our ticket on volume %s: %w", volume, err)
	}
	return nil
}

// awaitSatisfied waits until Longhorn says that the ticket is satisfied at the
// generation at which it stands in the spec.
func (a *Attacher) awaitSatisfied(ctx context.Context, t Ticket) error {
	var list longhorn.VolumeAttachmentList
	var why string
	err := a.await(ctx, t.Volume, &list, "volume "+t.Volume+" to be attached", func(o client.Object) (bool, error) {
		va := o.(*longhorn.VolumeAttachment)
		want := va.Spec.AttachmentTickets[t.ID]
		if want == nil {
			return false, fmt.Errorf("our ticket on volume %s was removed by somebody: %w", t.Volume, ErrNotAttached)
		}
		got := va.Status.AttachmentTicketStatuses[t.ID]
		if got == nil || got.Generation != want.Generation {
			return false, nil
		}
		why = unsatisfied(got)
		return got.Satisfied, nil
	})
	if err != nil && why != "" {
		return fmt.Errorf("%w (Longhorn says: %s)", err, why)
	}
	return err
}

func unsatisfied(s *longhorn.AttachmentTicketStatus) string {
	for _, c := range s.Conditions {
		if c.Type == longhorn.AttachmentStatusConditionTypeSatisfied && c.Message != "" {
			return c.Message
		}
	}
	return ""
}

func (a *Attacher) awaitEngine(ctx context.Context, volume string) (Location, error) {
	loc, err := a.Locate(ctx, volume)
	if !errors.Is(err, ErrNotAttached) {
		return loc, err
	}
	var list longhorn.EngineList
	werr := a.await(ctx, "", &list, "the engine of volume "+volume+" to run", func(o client.Object) (bool, error) {
		var e error
		if loc, e = locate(volume, []longhorn.Engine{*o.(*longhorn.Engine)}); errors.Is(e, ErrNotAttached) {
			return false, nil
		}
		return e == nil, e
	}, client.MatchingLabels{labelVolume: volume})
	if werr != nil {
		return Location{}, errors.Join(werr, err)
	}
	return loc, nil
}

// await watches objects of list's kind, by name if given, until done says so,
// the object is deleted, or ctx ends.
func (a *Attacher) await(ctx context.Context, name string, list client.ObjectList, what string, done func(client.Object) (bool, error), opts ...client.ListOption) error {
	opts = append(opts, client.InNamespace(a.Namespace))
	if name != "" {
		opts = append(opts, client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)})
	}
	for {
		ok, err := a.watchOnce(ctx, list, opts, done)
		if ok || (err != nil && ctx.Err() == nil) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-time.After(retryFloor):
		}
	}
}

// watchOnce follows one watch. A watch without a resource version begins with
// the objects as they are. It returns false, nil when the watch ended.
func (a *Attacher) watchOnce(ctx context.Context, list client.ObjectList, opts []client.ListOption, done func(client.Object) (bool, error)) (bool, error) {
	w, err := a.Client.Watch(ctx, list, opts...)
	if err != nil {
		return false, fmt.Errorf("watching: %w", err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case ev, open := <-w.ResultChan():
			if !open || ev.Type == watch.Error {
				return false, nil
			}
			o, isObject := ev.Object.(client.Object)
			if !isObject {
				continue
			}
			if ev.Type == watch.Deleted {
				return false, fmt.Errorf("%s: %w", o.GetName(), ErrGone)
			}
			if ok, err := done(o); ok || err != nil {
				return ok, err
			}
		}
	}
}
