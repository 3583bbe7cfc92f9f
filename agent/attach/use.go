package attach

import (
	"context"
	"fmt"
	"slices"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Use is the PersistentVolume of a volume, "" when Longhorn has not noted it, and the
// nodes on which the kubelet has asked for it, for pods.
func (a *Attacher) Use(ctx context.Context, volume string) (persistent string, nodes []string, err error) {
	vol, err := a.volume(ctx, volume)
	if err != nil {
		return "", nil, err
	}
	var va longhorn.VolumeAttachment
	if err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: volume}, &va); err != nil {
		return "", nil, fmt.Errorf("reading the attachment of volume %s: %w", volume, err)
	}
	return vol.Status.KubernetesStatus.PVName, podNodes(&va), nil
}

// podNodes are the nodes for which tickets of pods ask.
func podNodes(va *longhorn.VolumeAttachment) []string {
	var nodes []string
	for _, t := range va.Spec.AttachmentTickets {
		if t.Type == longhorn.AttacherTypeCSIAttacher && !slices.Contains(nodes, t.NodeID) {
			nodes = append(nodes, t.NodeID)
		}
	}
	slices.Sort(nodes)
	return nodes
}
