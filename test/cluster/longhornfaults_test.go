package cluster

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/test/harness"
)

// losses are what one VM loses: a replica during a backup, and the engine of a restore.
func (k *cluster) losses(t *testing.T) {
	g := k.makeGate(t, "worn")
	k.makeVM(t, "worn", k.Nodes[1].Name, 8)
	want := k.quiet(t, "worn")
	t.Run("a replica is rebuilt", func(t *testing.T) { k.during(t, g, "worn", "worn-1", func() { k.rebuilds(t) }) })
	t.Run("an engine is killed during a restore", func(t *testing.T) { k.losesRestore(t, g, "worn-1", want[disks[0]]) })
	k.requireRestores(t, "worn-1", "worn-1-back", want)
}

// victims are VMs of which backups meet faults: they are made before that.
type victims struct {
	made sync.Once
	left map[string]string // what is on the disks of the VM that is off: disk -> SHA-256
}

func (v *victims) make(t *testing.T, k *cluster) {
	v.made.Do(func() {
		k.makeVM(t, "busy", k.Nodes[1].Name, 3, leavePods)
		k.makeVM(t, "steered", k.Nodes[1].Name, 11)
		v.left = k.makeStoppedVM(t, "left", 9)
	})
}

// failures are what befalls Longhorn and Hayloft, and with them every volume, during backups. It returns the points that came of
// it: point -> disk -> SHA-256. waits is called when it only waits for most of the time.
func (k *cluster) failures(t *testing.T, v *victims, waits func()) map[string]map[string]string {
	vms := map[string][]fault{ // and what befalls their backups
		"busy":    {{"a node is drained", k.drains}, {"longhorn-manager is killed", k.killsManagers}, {"an instance manager is killed", k.killsInstanceManager}},
		"steered": {{"an agent is killed", k.killsAgent}, {"the chart is upgraded", k.upgrades}},
	}
	gates := map[string]*gate{}
	for vm := range vms {
		gates[vm] = k.makeGate(t, vm)
	}
	points := map[string]map[string]string{}
	t.Run("Longhorn and Hayloft fail", func(t *testing.T) {
		v.make(t, k)
		var mu sync.Mutex
		for vm, faults := range vms {
			t.Run("beneath VM "+vm, beside(func(t *testing.T) {
				made := k.befall(t, gates[vm], vm, faults...)
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(points, made)
			}))
		}
	})
	t.Run("a node is lost", func(t *testing.T) {
		v.make(t, k)
		k.keepVMs(t, "left")
		waits()
		k.losesNode(t, gates["busy"], "left-1")
		points["left-1"] = v.left
	})
	return points
}

// killsManagers: Longhorn's managers and with them its webhooks go, and come back.
func (k *cluster) killsManagers(t *testing.T, g *gate, vm, point string) {
	k.during(t, g, vm, point, func() {
		require.NoError(t, k.c.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(harness.LonghornNamespace),
			client.MatchingLabels{"app": "longhorn-manager"}, client.GracePeriodSeconds(0)))
		await(t, upTimeout, "longhorn-manager", func() error {
			set := &appsv1.DaemonSet{}
			if err := k.c.Get(t.Context(), client.ObjectKey{Namespace: harness.LonghornNamespace, Name: "longhorn-manager"}, set); err != nil {
				return err
			}
			if n := set.Status.NumberReady; int(n) != len(k.Nodes) {
				return fmt.Errorf("%d are ready", n)
			}
			return nil
		})
	})
}

// rebuilds: a replica of a disk is deleted, and Longhorn makes another one.
func (k *cluster) rebuilds(t *testing.T) {
	volume := k.volumeOf(t, "worn-"+disks[0])
	replicas := &longhorn.ReplicaList{}
	require.NoError(t, k.c.List(t.Context(), replicas, client.InNamespace(harness.LonghornNamespace), client.MatchingLabels{"longhornvolume": volume}))
	require.Len(t, replicas.Items, 2)
	require.NoError(t, k.c.Delete(t.Context(), &replicas.Items[0]))
	await(t, patience, "another replica", func() error {
		if err := k.c.List(t.Context(), replicas, client.InNamespace(harness.LonghornNamespace), client.MatchingLabels{"longhornvolume": volume}); err != nil {
			return err
		}
		engine := &longhorn.EngineList{}
		if err := k.c.List(t.Context(), engine, client.InNamespace(harness.LonghornNamespace), client.MatchingLabels{"longhornvolume": volume}); err != nil {
			return err
		}
		for _, r := range replicas.Items {
			if mode := engine.Items[0].Status.ReplicaModeMap[r.Name]; mode != longhorn.ReplicaModeRW {
				return fmt.Errorf("replica %s is %q", r.Name, mode)
			}
		}
		return k.healthy(t, volume)
	})
}

// healthy says what is wrong with a volume.
func (k *cluster) healthy(t *testing.T, name string) error {
	volume := &longhorn.Volume{}
	if err := k.c.Get(t.Context(), client.ObjectKey{Namespace: harness.LonghornNamespace, Name: name}, volume); err != nil {
		return err
	}
	if volume.Status.Robustness != longhorn.VolumeRobustnessHealthy {
		return fmt.Errorf("volume %s is %s and %s", name, volume.Status.State, volume.Status.Robustness)
	}
	return nil
}

// killsInstanceManager: the instance manager where the VM runs goes, and with it its engines and replicas. The guest loses
// its disks and is started again.
func (k *cluster) killsInstanceManager(t *testing.T, g *gate, vm, point string) {
	k.during(t, g, vm, point, func() {
		managers := &longhorn.InstanceManagerList{}
		require.NoError(t, k.c.List(t.Context(), managers, client.InNamespace(harness.LonghornNamespace)))
		before := k.instance(t, vm)
		for _, m := range managers.Items {
			if m.Spec.NodeID == before.Status.NodeName {
				require.NoError(t, k.c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name}}, client.GracePeriodSeconds(0)))
			}
		}
		await(t, upTimeout, "the VM to run again", func() error {
			vmi := k.instance(t, vm)
			if vmi.UID == before.UID || vmi.Status.Phase != kubevirt.Running {
				return fmt.Errorf("its instance %s is %s", vmi.UID, vmi.Status.Phase)
			}
			return nil
		})
	})
}

// instance is a VM's, or an empty one.
func (k *cluster) instance(t *testing.T, vm string) *kubevirt.VirtualMachineInstance {
	t.Helper()
	vmi := &kubevirt.VirtualMachineInstance{}
	require.NoError(t, client.IgnoreNotFound(k.c.Get(t.Context(), client.ObjectKey{Namespace: vmNamespace, Name: vm}, vmi)))
	return vmi
}

func (k *cluster) replicasOf(t *testing.T, volume string) []longhorn.Replica {
	t.Helper()
	list := &longhorn.ReplicaList{}
	require.NoError(t, k.c.List(t.Context(), list, client.InNamespace(harness.LonghornNamespace), client.MatchingLabels{"longhornvolume": volume}))
	return list.Items
}
