package cluster

import (
	"fmt"
	"strconv"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/test/harness"
)

// startsAndStops: a VM that is off starts on another node than where its volumes are attached for its backup, and runs at once;
// then it stops during another one. Either backup goes on where the volumes are afterwards.
func (k *cluster) startsAndStops(t *testing.T) {
	g := k.makeGate(t, "away")
	wants := map[string]map[string]string{"away-1": k.makeStoppedVM(t, "away", 5)} // point -> disk -> SHA-256
	k.during(t, g, "away", "away-1", func() {
		at := k.volume(t, k.volumeOf(t, "away-"+disks[0])).Status.CurrentNodeID
		require.NotEmpty(t, at)
		node := k.otherNode(at)
		k.patchVM(t, "away", fmt.Sprintf(`{"metadata":{"annotations":{"local.hayloft.dev/node":%q}},"spec":{"runStrategy":"Always"}}`, node))
		k.awaitVM(t, "away", kubevirt.VirtualMachineStatusRunning)
		require.Equal(t, node, k.instance(t, "away").Status.NodeName)
	})

	wants["away-2"] = k.rewrite(t, "away", 400)
	k.during(t, g, "away", "away-2", func() {
		k.patchVM(t, "away", `{"spec":{"runStrategy":"Halted"}}`)
		k.awaitVM(t, "away", kubevirt.VirtualMachineStatusStopped)
	})
	k.awaitDetached(t, "away")
	require.Equal(t, wants["away-2"], k.hash(t, "away"))
	k.requireAllRestore(t, wants)
}

// migrates: a VM migrates live, there during a backup, and back while one begins. Its volumes are migratable, as Harvester's are.
func (k *cluster) migrates(t *testing.T) {
	g := k.makeGate(t, "roams")
	k.makeVM(t, "roams", k.Nodes[1].Name, 10, leavePods)
	wants := map[string]map[string]string{"roams-1": k.quiet(t, "roams")} // point -> disk -> SHA-256
	k.during(t, g, "roams", "roams-1", func() { k.awaitMigrated(t, k.migrate(t, "roams")) })

	wants["roams-2"] = k.rewrite(t, "roams", 300)
	k.patchVM(t, "roams", `{"metadata":{"annotations":{"local.hayloft.dev/migration":"5s"}}}`)
	m := k.migrate(t, "roams")
	await(t, patience, "the migration to be under way", func() error {
		require.NoError(t, k.c.Get(t.Context(), client.ObjectKeyFromObject(m), m))
		if m.Status.Phase == kubevirt.MigrationPhaseUnset || m.Status.Phase == kubevirt.MigrationPending {
			return fmt.Errorf("it is %s", m.Status.Phase)
		}
		return nil
	})
	k.run(t, "hayloft", "backup", "create", "roams", "--name", "roams-2", "--target", target, "-n", vmNamespace)
	k.awaitMigrated(t, m)
	k.awaitPoint(t, "roams-2")
	k.requireAllRestore(t, wants)
}

// leavePods has a VM's guest be a process: one in a pod cannot migrate.
func leavePods(vm *kubevirt.VirtualMachine) { delete(vm.Annotations, podAnnotation) }

// rewrite has the guest write other data onto its disks, so that there is something to upload, and be quiet. It returns what
// is on them: disk -> SHA-256.
func (k *cluster) rewrite(t *testing.T, vm string, seed int) map[string]string {
	t.Helper()
	for i, disk := range disks {
		k.guest(t, "fill", vm, "--disk", disk, "--seed", strconv.Itoa(seed+i), "--length", strconv.Itoa(16*mib))
	}
	return k.quiet(t, vm)
}

// migrate has a running VM migrate live.
func (k *cluster) migrate(t *testing.T, vm string) *kubevirt.VirtualMachineInstanceMigration {
	t.Helper()
	m := &kubevirt.VirtualMachineInstanceMigration{ObjectMeta: metav1.ObjectMeta{Namespace: vmNamespace, GenerateName: vm + "-"}}
	m.Spec.VMIName = vm
	require.NoError(t, k.c.Create(t.Context(), m))
	return m
}

// awaitMigrated waits until a live migration has succeeded and the VM's volumes are on the new node, with one engine each.
func (k *cluster) awaitMigrated(t *testing.T, m *kubevirt.VirtualMachineInstanceMigration) {
	t.Helper()
	await(t, upTimeout, "the migration to succeed", func() error {
		require.NoError(t, k.c.Get(t.Context(), client.ObjectKeyFromObject(m), m))
		require.NotEqual(t, kubevirt.MigrationFailed, m.Status.Phase, "%+v", m.Status)
		if m.Status.Phase != kubevirt.MigrationSucceeded {
			return fmt.Errorf("it is %s", m.Status.Phase)
		}
		return nil
	})
	require.Equal(t, k.otherNode(m.Status.MigrationState.SourceNode), m.Status.MigrationState.TargetNode)
	for _, disk := range disks {
		name := k.volumeOf(t, m.Spec.VMIName+"-"+disk)
		await(t, patience, "volume "+name+" to have migrated", func() error {
			engines := &longhorn.EngineList{}
			if err := k.c.List(t.Context(), engines, client.InNamespace(harness.LonghornNamespace), client.MatchingLabels{"longhornvolume": name}); err != nil {
				return err
			}
			v := k.volume(t, name)
			if n := len(engines.Items); n != 1 || v.Status.CurrentNodeID != m.Status.MigrationState.TargetNode || v.Status.CurrentMigrationNodeID != "" {
				return fmt.Errorf("it is on %s, migrates to %q and has %d engines", v.Status.CurrentNodeID, v.Status.CurrentMigrationNodeID, n)
			}
			return nil
		})
	}
}

func (k *cluster) patchVM(t *testing.T, name, patch string) {
	t.Helper()
	vm := &kubevirt.VirtualMachine{ObjectMeta: virtualMachine(name, "", "").ObjectMeta}
	require.NoError(t, k.c.Patch(t.Context(), vm, client.RawPatch("application/merge-patch+json", []byte(patch))))
}

func (k *cluster) volume(t *testing.T, name string) *longhorn.Volume {
	t.Helper()
	v := &longhorn.Volume{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Namespace: harness.LonghornNamespace, Name: name}, v))
	return v
}

func (k *cluster) otherNode(name string) string {
	if name == k.Nodes[0].Name {
		return k.Nodes[1].Name
	}
	return k.Nodes[0].Name
}
