package attach

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/names"
)

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

// foreign is a ticket of somebody else, nil when there is none. Of several it is
// the one with the smallest id.
func foreign(va *longhorn.VolumeAttachment) *longhorn.AttachmentTicket {
	for _, id := range slices.Sorted(maps.Keys(va.Spec.AttachmentTickets)) {
		if !strings.HasPrefix(id, names.TicketPrefix) {
			return va.Spec.AttachmentTickets[id]
		}
	}
	return nil
}

// asked: a ticket of somebody else asks for the volume on that node.
func asked(va *longhorn.VolumeAttachment, node string) bool {
	for id, t := range va.Spec.AttachmentTickets {
		if !strings.HasPrefix(id, names.TicketPrefix) && t.NodeID == node {
			return true
		}
	}
	return false
}

// ownSatisfied: the volume is attached for a ticket of ours.
func ownSatisfied(va *longhorn.VolumeAttachment) bool {
	return slices.ContainsFunc(ownTickets(va, ""), func(id string) bool {
		s, t := va.Status.AttachmentTicketStatuses[id], va.Spec.AttachmentTickets[id]
		return s != nil && s.Satisfied && s.Generation == t.Generation
	})
}

// kept: somebody still asks for the volume on that node, so that Longhorn keeps
// its engine there. A ticket of ours does not count beside another's elsewhere:
// Longhorn interrupts it.
func kept(va *longhorn.VolumeAttachment, node string) bool {
	if asked(va, node) {
		return true
	}
	if foreign(va) != nil {
		return false
	}
	for _, t := range va.Spec.AttachmentTickets {
		if t.NodeID == node {
			return true
		}
	}
	return false
}

func describe(t *longhorn.AttachmentTicket) string {
	return fmt.Sprintf("the %s ticket %s on node %s", t.Type, t.ID, t.NodeID)
}

func unsatisfied(s *longhorn.AttachmentTicketStatus) string {
	for _, c := range s.Conditions {
		if c.Type == longhorn.AttachmentStatusConditionTypeSatisfied && c.Message != "" {
			return c.Message
		}
	}
	return ""
}

// Left tells whether the workload for which an engine ran has let go of it: it
// stopped, or went to another node. Then Longhorn ends that engine.
func (a *Attacher) Left(ctx context.Context, loc Location) (bool, error) {
	var va longhorn.VolumeAttachment
	if err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: loc.Volume}, &va); err != nil {
		return false, fmt.Errorf("reading the attachment of volume %s: %w", loc.Volume, err)
	}
	return !kept(&va, loc.Node), nil
}

// attachment reads a volume's attachment, which Longhorn makes a moment after
// the volume.
func (a *Attacher) attachment(ctx context.Context, volume string) (*longhorn.VolumeAttachment, error) {
	for {
		var va longhorn.VolumeAttachment
		err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: volume}, &va)
		if err == nil {
			return &va, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("reading the attachment of volume %s: %w", volume, err)
		}
		if _, err := a.volume(ctx, volume); err != nil {
			return nil, err
		}
		if err := rest(ctx); err != nil {
			return nil, fmt.Errorf("waiting for the attachment of volume %s to exist: %w", volume, err)
		}
	}
}

// volume reads a volume and refuses what Hayloft cannot work on.
func (a *Attacher) volume(ctx context.Context, name string) (*longhorn.Volume, error) {
	var vol longhorn.Volume
	if err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: name}, &vol); apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("volume %s: %w", name, ErrGone)
	} else if err != nil {
		return nil, fmt.Errorf("reading volume %s: %w", name, err)
	}
	if vol.Spec.DataEngine == longhorn.DataEngineTypeV2 {
		return nil, fmt.Errorf("volume %s has data engine v2, of which Hayloft reads and writes nothing: %w", name, ErrNotSupported)
	}
	return &vol, nil
}

// nodeFor is the node to attach a volume to: where it is already, else this
// agent's. Data goes from replica to target, or from replica to replica, and not
// through the engine, so that Longhorn itself takes any node for a backup too. Only
// where the volume is to have its data on the engine's node it must be one with a
// replica: Longhorn would make one there, or refuse. A volume whose node was lost is
// taken from there if another node has its data; one that is being restored is not,
// since a restore is begun anew in another volume.
func (a *Attacher) nodeFor(ctx context.Context, q Request) (string, error) {
	vol, err := a.volume(ctx, q.Volume)
	if err != nil {
		return "", err
	}
	at := vol.Spec.NodeID
	if at != "" {
		lost := false
		if q.givesWay() && at != a.Node {
			if lost, err = a.lost(ctx, q.Volume, at); err != nil {
				return "", err
			}
		}
		if !lost {
			return at, nil
		}
	} else if vol.Spec.DataLocality == longhorn.DataLocalityDisabled {
		return a.Node, nil
	}
	var replicas longhorn.ReplicaList
	if err := a.Client.List(ctx, &replicas, client.InNamespace(a.Namespace), client.MatchingLabels{labelVolume: q.Volume}); err != nil {
		return "", fmt.Errorf("listing the replicas of volume %s: %w", q.Volume, err)
	}
	return chooseNode(a.Node, at, vol.Spec.DataLocality, replicas.Items), nil
}

// lost tells whether Longhorn knows nothing of the volume's engine on a node any
// more. It says so when Kubernetes calls the node not ready.
func (a *Attacher) lost(ctx context.Context, volume, node string) (bool, error) {
	var engines longhorn.EngineList
	if err := a.Client.List(ctx, &engines, client.InNamespace(a.Namespace), client.MatchingLabels{labelVolume: volume}); err != nil {
		return false, fmt.Errorf("listing the engines of volume %s: %w", volume, err)
	}
	return slices.ContainsFunc(engines.Items, func(e longhorn.Engine) bool {
		return e.Spec.NodeID == node && e.Status.CurrentState == longhorn.InstanceStateUnknown
	}), nil
}

// chooseNode is the agent's own node if that will do, else one with a replica; from
// a lost node, on which alone there is a replica, the volume cannot be taken.
func chooseNode(own, lost string, locality longhorn.DataLocality, replicas []longhorn.Replica) string {
	var nodes []string
	for _, r := range replicas {
		if r.Spec.NodeID != "" && r.Spec.NodeID != lost && r.Spec.FailedAt == "" && r.Status.CurrentState != longhorn.InstanceStateUnknown {
			nodes = append(nodes, r.Spec.NodeID)
		}
	}
	switch {
	case len(nodes) == 0 && lost != "":
		return lost
	case len(nodes) == 0 || locality == longhorn.DataLocalityDisabled || slices.Contains(nodes, own):
		return own
	}
	return slices.Min(nodes)
}

// put puts our ticket in the place of former ones, in one merge patch: every
// other ticket is left alone, the map is made where there is none, and a volume
// that is attached for a former ticket stays so. It returns the attachment as it
// is then.
func (a *Attacher) put(ctx context.Context, q Request, node string, former []string) (*longhorn.VolumeAttachment, error) {
	tickets := map[string]any{q.TicketID: map[string]any{
		"id":     q.TicketID,
		"type":   string(q.Type),
		"nodeID": node,
		"parameters": map[string]string{
			longhorn.AttachmentParameterDisableFrontend: string(q.Frontend),
		},
	}}
	for _, id := range former {
		tickets[id] = nil
	}
	return a.patch(ctx, q.Volume, tickets)
}

func (a *Attacher) drop(ctx context.Context, volume string, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	keys := make(map[string]any, len(ids))
	for _, id := range ids {
		keys[id] = nil
	}
	_, err := a.patch(ctx, volume, keys)
	return client.IgnoreNotFound(err)
}

func (a *Attacher) patch(ctx context.Context, volume string, tickets map[string]any) (*longhorn.VolumeAttachment, error) {
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"attachmentTickets": tickets}})
	if err != nil {
		return nil, fmt.Errorf("encoding the tickets of volume %s: %w", volume, err)
	}
	va := &longhorn.VolumeAttachment{}
	va.Namespace, va.Name = a.Namespace, volume
	if err := a.Client.Patch(ctx, va, client.RawPatch(types.MergePatchType, body)); err != nil {
		return nil, fmt.Errorf("changing our ticket on volume %s: %w", volume, err)
	}
	return va, nil
}
