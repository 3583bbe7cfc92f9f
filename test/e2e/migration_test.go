package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestMigrationDuringBackup migrates a VM live. Neither the migration nor the
// backup breaks the other.
func TestMigrationDuringBackup(t *testing.T) {
	t.Parallel()
	s := slowStack(t)
	t.Run("the transfer is in its middle", func(t *testing.T) { migratesDuringTransfer(t, s) })
	t.Run("the backup begins during the migration", func(t *testing.T) { backedUpDuringMigration(t, s) })
}

func migratesDuringTransfer(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.runningVM("vm", 64*mib)
	sums := w.quietHashes("vm", "root")
	volume := w.volumeOf("vm-root")
	before, err := w.locate(volume)
	require.NoError(t, err)
	release := g.holdWrites(4)
	w.backupTo(g.target, "point", "vm")
	w.eventually("the transfer to be in its middle", func() (bool, string) { return g.stops(".blk") > 0, "not yet" })
	w.awaitMigrated(w.migrate("vm"))
	release()

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	require.Greater(t, b.Status.Disks[0].Attempt, int32(1), "the transfer's replicas ended with the old engine")
	after, err := w.locate(volume)
	require.NoError(t, err)
	require.NotEqual(t, before.Node, after.Node)
	_, again := g.blockWrites(volume)
	require.Zero(t, again, "blocks that were uploaded twice")
	require.Nil(t, w.ourTicket("vm-root"), "no ticket on a volume that a VM uses")
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
}

func backedUpDuringMigration(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	w.runningVM("vm", 32*mib)
	sums := w.quietHashes("vm", "root")
	w.patch(w.vmNamed("vm"), `{"metadata":{"annotations":{"local.hayloft.dev/migration":"3s"}}}`)
	m := w.migrate("vm")
	w.eventually("the migration to be under way", func() (bool, string) {
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKeyFromObject(m), m))
		return m.Status.Phase != kubevirt.MigrationPhaseUnset && m.Status.Phase != kubevirt.MigrationPending, string(m.Status.Phase)
	})
	w.backup("point", "vm")
	w.awaitMigrated(m)
	w.awaitBackup("point", v1alpha1.BackupReady)
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	backedUpInTurn(w)
	w.nothingLeft()
}

// backedUpInTurn: several backups at once of a VM that runs, here one that has
// moved, take turns and say so, and each has what the disk had when it was cut.
func backedUpInTurn(w *world) {
	g := w.kitGate()
	release := g.holdWrites(1)
	first := map[string]string{"root": w.rewritten("vm", "root", 0, 8*mib, 21)}
	w.backupTo(g.target, "first", "vm")
	w.eventually("the first transfer to be in its middle", func() (bool, string) { return g.stops(".blk") > 0, "not yet" })
	later := []string{"second", "third", "fourth"}
	for _, name := range later {
		w.backupTo(g.target, name, "vm")
	}
	for _, name := range later {
		w.eventually(name+" to wait for its turn", func() (bool, string) {
			said := conditionText(w.pointNow(name).Status.Conditions, v1alpha1.ConditionProgressing)
			return strings.Contains(said, "comes first"), said
		})
	}
	now := map[string]string{"root": w.rewritten("vm", "root", 4*mib, 8*mib, 22)}
	release()
	w.awaitBackup("first", v1alpha1.BackupReady)
	for _, name := range later {
		b := w.awaitBackup(name, v1alpha1.BackupReady)
		require.EqualValues(w.t, 1, b.Status.Disks[0].Attempt, name)
	}
	want := map[string]map[string]string{"first": first, "second": now, "fourth": now}
	for name := range want {
		w.restore("turn-"+name, name, "turn-of-"+name)
	}
	for name, sums := range want {
		w.sameDisks(w.awaitRestore("turn-"+name, v1alpha1.RestoreReady), sums)
	}
}

// migrate has a running VM migrate live.
func (w *world) migrate(vm string) *kubevirt.VirtualMachineInstanceMigration {
	w.t.Helper()
	m := &kubevirt.VirtualMachineInstanceMigration{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: vm + "-moves"}}
	m.Spec.VMIName = vm
	require.NoError(w.t, w.c.Create(w.ctx, m))
	return m
}

// awaitMigrated waits until a live migration has succeeded.
func (w *world) awaitMigrated(m *kubevirt.VirtualMachineInstanceMigration) {
	w.t.Helper()
	w.eventually("migration "+m.Name+" to succeed", func() (bool, string) {
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKeyFromObject(m), m))
		require.NotEqual(w.t, kubevirt.MigrationFailed, m.Status.Phase, words(m.Status))
		return m.Status.Phase == kubevirt.MigrationSucceeded, words(m.Status)
	})
}
