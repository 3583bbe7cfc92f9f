package cluster

import (
	"fmt"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// snapshots: points that stay in a VM's volumes, of one that runs and of one that is off, restored by clones. Longhorn shows
// them as its own; one that is deleted there is lost.
func (k *cluster) snapshots(t *testing.T) {
	k.makeVM(t, "kept", k.Nodes[1].Name, 7)
	first := k.quiet(t, "kept")
	k.snapshot(t, "kept", "kept-1")
	second := k.rewrite(t, "kept", 600)
	require.NotEqual(t, first, second)
	k.requireRestores(t, "kept-1", "kept-1-back", first)

	k.patchVM(t, "kept", `{"spec":{"runStrategy":"Halted"}}`)
	k.awaitVM(t, "kept", kubevirt.VirtualMachineStatusStopped)
	k.awaitDetached(t, "kept")
	k.snapshot(t, "kept", "kept-2")
	k.awaitDetached(t, "kept")

	lost := k.point(t, "kept-1").Status.Disks[0].Snapshot
	object := &longhorn.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: lost}}
	await(t, patience, "Longhorn to show "+lost, func() error { return k.c.Get(t.Context(), client.ObjectKeyFromObject(object), object) })
	require.NoError(t, k.c.Delete(t.Context(), object))
	k.requireRestores(t, "kept-2", "kept-2-back", second) // meanwhile: Hayloft looks every now and then only
	await(t, patience, "the point to be lost", func() error {
		if phase := k.point(t, "kept-1").Status.Phase; phase != v1alpha1.BackupDataLost {
			return fmt.Errorf("it is %s", phase)
		}
		return nil
	})

	volumes := map[string]bool{}
	for _, disk := range disks {
		volumes[k.volumeOf(t, "kept-"+disk)] = true
	}
	for _, point := range []string{"kept-1", "kept-2"} {
		require.NoError(t, k.c.Delete(t.Context(), &v1alpha1.VMBackup{ObjectMeta: k.point(t, point).ObjectMeta}))
	}
	// Of a volume that is detached again before the manager's poll Longhorn goes on showing them until it is next attached.
	k.patchVM(t, "kept", `{"spec":{"runStrategy":"Always"}}`)
	await(t, patience, "Longhorn's Snapshot objects to go", func() error { return want(0, k.snapshotsOf(t, volumes)) })
}

// snapshot makes a point that stays in the VM's volumes, and waits until it is ready.
func (k *cluster) snapshot(t *testing.T, vm, name string) {
	t.Helper()
	k.run(t, "hayloft", "snapshot", "create", vm, "--name", name, "-n", vmNamespace, "--wait", "--timeout", "4m")
}
