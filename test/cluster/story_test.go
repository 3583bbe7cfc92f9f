package cluster

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestHayloft goes through a cluster's life with Hayloft, from an empty cluster to one that Hayloft has left, on the stand-in for
// longhorn-manager. In short mode it has what else TestRealLonghorn has: the main job, a stopped VM, an agent that is killed, and
// that the chart is uninstalled and comes back; and nothing else befalls a backup, and no VM is paused.
func TestHayloft(t *testing.T) {
	needsCluster(t)
	t.Parallel()
	k := newCluster(t, "--crds", bin(t, "local/crds"))
	k.makeNamespaces(t)
	k.startStorage(t)
	require.True(t, t.Run("the chart installs", k.installs))
	k.makeTarget(t)
	faults := []fault{{"a node is cut off", k.cutsOff}, {"the chart is upgraded", k.upgradesAndBack}}
	if testing.Short() {
		faults = []fault{{"an agent is killed", k.killsAgent}}
		t.Run("at once", func(t *testing.T) {
			t.Run("the main job", beside(k.mainJob))
			t.Run("a stopped VM", beside(k.stoppedVM))
		})
	}
	g := k.makeGate(t, "busy")
	k.makeVM(t, "busy", k.Nodes[0].Name, 3)
	points := k.befall(t, g, "busy", faults...)
	if testing.Short() {
		t.Run("the chart uninstalls and comes back", func(t *testing.T) { k.uninstalls(t, points) })
	} else {
		t.Run("a VM is paused", k.pauses)
		k.requireAllRestore(t, points)
	}
	t.Run("all is removed but what is on the target", func(t *testing.T) { k.uproots(t, points) })
}

// schedules: a schedule makes a point by itself.
func (k *cluster) schedules(t *testing.T) {
	k.makeStoppedVM(t, "timed", 7)
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
	k.makeVM(t, "shop", k.Nodes[0].Name, 1)
	want := k.quiet(t, "shop")
	k.backup(t, "shop", "shop-1")
	k.loseVM(t, "shop")
	k.requireRestores(t, "shop-1", "shop-back", want)
}

// stoppedVM: a VM that is off is backed up, several times at once, and its volumes are detached again.
func (k *cluster) stoppedVM(t *testing.T) {
	want := k.makeStoppedVM(t, "off", 2)
	points := []string{"off-1", "off-2", "off-3"}
	for _, point := range points {
		k.run(t, "hayloft", "backup", "create", "off", "--name", point, "--target", target, "-n", vmNamespace)
	}
	for _, point := range points {
		k.awaitPoint(t, point)
	}
	k.awaitDetached(t, "off")
	require.Equal(t, want, k.hash(t, "off"))
	k.requireRestores(t, "off-2", "off-back", want)
}

// backup makes a point and waits until it is ready.
func (k *cluster) backup(t *testing.T, vm, name string) {
	t.Helper()
	k.run(t, "hayloft", "backup", "create", vm, "--name", name, "--target", target, "-n", vmNamespace, "--wait", "--timeout", "4m")
}
