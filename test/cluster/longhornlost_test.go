package cluster

import (
	"fmt"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
)

// spreadCoordinators has one of the coordinators that an earlier drain has put on one node made again on the other.
func (k *cluster) spreadCoordinators(t *testing.T) {
	t.Helper()
	k.awaitReady(t)
	pods := k.pods(t, "coordinator")
	for _, pod := range pods[1:] {
		if pod.Spec.NodeName == pods[0].Spec.NodeName {
			require.NoError(t, k.c.Delete(t.Context(), &pod))
		}
	}
	await(t, upTimeout, "a coordinator on each node", func() error {
		for _, node := range k.Nodes {
			if len(k.coordinatorsOn(t, node.Name)) == 0 {
				return fmt.Errorf("none is on %s", node.Name)
			}
		}
		return nil
	})
	k.awaitReady(t)
}

// coordinatorsOn are those on a node that are not to go.
func (k *cluster) coordinatorsOn(t *testing.T, node string) (names []string) {
	t.Helper()
	for _, pod := range k.pods(t, "coordinator") {
		if pod.DeletionTimestamp == nil && pod.Spec.NodeName == node {
			names = append(names, pod.Name)
		}
	}
	return names
}

// losesNode: the node where a volume of a VM that is off is attached for its backup is cut off the network, with the engine, a
// replica and an agent. Once Kubernetes has given the node up, the backup goes on at the other node, and is whole before the
// lost one comes back.
func (k *cluster) losesNode(t *testing.T, g *gate, point string) {
	var node string
	heal := func() {
		if node != "" {
			k.run(t, "cluster/hayloft-cluster", "heal", "--dir", k.Dir, node)
		}
	}
	defer heal()
	k.spreadCoordinators(t)
	k.during(t, g, "left", point, func() {
		node = k.volume(t, k.volumeOf(t, "left-"+disks[0])).Status.CurrentNodeID
		require.NotEmpty(t, node)
		k.run(t, "cluster/hayloft-cluster", "cut", "--dir", k.Dir, node)
		await(t, upTimeout, "the volumes to be attached on the other node", func() error {
			for _, disk := range disks {
				v := k.volume(t, k.volumeOf(t, "left-"+disk))
				if v.Status.State != longhorn.VolumeStateAttached || v.Status.CurrentNodeID != k.otherNode(node) {
					return fmt.Errorf("volume %s is %s on %s and %s", v.Name, v.Status.State, v.Status.CurrentNodeID, v.Status.Robustness)
				}
			}
			return nil
		})
	})
	for _, disk := range k.point(t, point).Status.Disks {
		require.LessOrEqual(t, disk.Attempt, int32(2), "the first one was lost with the node, and no other one")
	}
	await(t, patience, "another coordinator in the lost one's place", func() error { // by default Kubernetes takes 5 minutes
		return want(2, k.coordinatorsOn(t, k.otherNode(node)))
	})
	heal()
	k.awaitReady(t)
	k.awaitLonghorn(t)
	// Nobody wants them attached. Whether Longhorn has detached them is another matter (docs/longhorn.md).
	for _, disk := range disks {
		k.awaitNoTickets(t, k.volumeOf(t, "left-"+disk))
	}
}
