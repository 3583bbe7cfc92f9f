package cluster

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestHayloft goes through a cluster's life with Hayloft, from an empty cluster to one that Hayloft has left. In short mode the
// main job and a stopped VM are here, which else TestRealLonghorn has; no VM is paused, and of the faults there is only that an
// agent is killed.
func TestHayloft(t *testing.T) {
	needsCluster(t)
	t.Parallel()
	k := newCluster(t, "--crds", bin(t, "local/crds"))
	k.makeNamespaces(t)
	k.startStorage(t)
	require.True(t, t.Run("the chart installs", k.installs))
	k.makeTarget(t)
	if testing.Short() {
		t.Run("at once", func(t *testing.T) {
			t.Run("the main job", beside(k.mainJob))
			t.Run("a stopped VM", beside(k.stoppedVM))
		})
	}
	points := k.faults(t)
	if !testing.Short() {
		t.Run("a VM is paused", k.pauses)
	}
	t.Run("the chart uninstalls and comes back", func(t *testing.T) { k.uninstalls(t, points) })
	t.Run("all is removed but what is on the target", func(t *testing.T) { k.uproots(t, points) })
}

// faults are what befalls backups of one VM. It returns the points that came of it: point -> disk -> SHA-256.
func (k *cluster) faults(t *testing.T) map[string]map[string]string {
	g := k.makeGate(t, "busy")
	k.makeVM(t, "busy", kubevirt.RunStrategyAlways, k.Nodes[0].Name, 3)
	points := map[string]map[string]string{}
	for i, fault := range []struct {
		name string
		meet func(t *testing.T, g *gate, point string)
	}{
		{"an agent is killed", k.killsAgent},
		{"a node is drained", k.drains},
		{"a node is cut off", k.cutsOff},
		{"the chart is upgraded", k.upgrades},
	} {
		if i > 0 && testing.Short() {
			break
		}
		point := fmt.Sprintf("busy-%d", i+1)
		t.Run(fault.name, func(t *testing.T) {
			for _, disk := range disks { // so that there is something to upload
				k.guest(t, "fill", "busy", "--disk", disk, "--seed", fmt.Sprint(100+i), "--length", fmt.Sprint(16*mib))
			}
			want := k.quiet(t, "busy")
			fault.meet(t, g, point)
			points[point] = want
		})
	}
	return points
}

// schedules: a schedule makes a point by itself.
func (k *cluster) schedules(t *testing.T) {
	k.makeVM(t, "timed", kubevirt.RunStrategyHalted, "", 7)
	k.run(t, "hayloft", "schedule", "create", "often", "--vm", "timed", "--cron", "* * * * *", "--target", target, "--keep-last", "3", "--max-failures", "2", "-n", vmNamespace,
		"--override-spacing", "a test does not wait for an hour")
	await(t, patience, "a point of the schedule", func() error {
		points := &v1alpha1.VMBackupList{}
		if err := k.c.List(t.Context(), points, client.InNamespace(vmNamespace)); err != nil {
			return err
		}
		for _, p := range points.Items {
			if p.Spec.VM == "timed" && p.Status.Phase == v1alpha1.BackupReady {
				return nil
			}
		}
		return fmt.Errorf("none of %d is ready and of the schedule", len(points.Items))
	})
	k.run(t, "hayloft", "schedule", "suspend", "often", "-n", vmNamespace)
}

// mainJob: a running VM is backed up, deleted with its volumes, and comes back bit by bit.
func (k *cluster) mainJob(t *testing.T) {
	k.makeVM(t, "shop", kubevirt.RunStrategyAlways, k.Nodes[0].Name, 1)
	want := k.quiet(t, "shop")
	k.backup(t, "shop", "shop-1")
	k.loseVM(t, "shop")
	k.requireRestores(t, "shop-1", "shop-back", want)
}

// stoppedVM: a VM that is off is backed up, and its volumes are detached again.
func (k *cluster) stoppedVM(t *testing.T) {
	k.makeVM(t, "off", kubevirt.RunStrategyHalted, k.Nodes[1].Name, 2)
	want := k.hash(t, "off")
	k.backup(t, "off", "off-1")
	k.awaitDetached(t, "off")
	require.Equal(t, want, k.hash(t, "off"))
	k.requireRestores(t, "off-1", "off-back", want)
}

// backup makes a point and waits until it is ready.
func (k *cluster) backup(t *testing.T, vm, name string) {
	t.Helper()
	k.run(t, "hayloft", "backup", "create", vm, "--name", name, "--target", target, "-n", vmNamespace, "--wait", "--timeout", "4m")
}
