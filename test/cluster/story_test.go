package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
	kubevirt "kubevirt.io/api/core/v1"
)

// TestHayloft goes through a cluster's life with Hayloft, from an empty cluster to one that Hayloft has left.
func TestHayloft(t *testing.T) {
	k := newCluster(t)
	k.makeNamespaces(t)
	k.startStorage(t)
	require.True(t, t.Run("the chart installs", k.installs))
	k.makeTarget(t)
	t.Run("the main job", k.mainJob)
	t.Run("a stopped VM", k.stoppedVM)
	t.Run("the chart uninstalls", k.uninstalls)
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
	k.loseVM(t, "off")
}

// backup makes a point and waits until it is ready.
func (k *cluster) backup(t *testing.T, vm, name string) {
	t.Helper()
	k.run(t, "hayloft", "backup", "create", vm, "--name", name, "--target", target, "-n", vmNamespace, "--wait", "--timeout", "4m")
}
