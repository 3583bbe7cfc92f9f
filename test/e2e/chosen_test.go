package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestChosenDisks: a disk that could never be backed up keeps nobody from
// backing up the others, if he says so.
func TestChosenDisks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	w.filled("vm-root", 16*mib, 1)
	w.filled("vm-data", 16*mib, 2)
	w.staticClaim("vm-share", corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "192.0.2.1", Path: "/share"}})
	halted := kubevirt.RunStrategyHalted
	require.NoError(t, w.c.Create(w.ctx, w.vmSpec("vm", []string{"vm-root", "vm-data", "vm-share"}, func(vm *kubevirt.VirtualMachine) {
		vm.Spec.RunStrategy = &halted
	})))
	point := func(name string, include, exclude []string) {
		b := &v1alpha1.VMBackup{}
		b.Namespace, b.Name = w.ns, name
		b.Spec = v1alpha1.VMBackupSpec{VM: "vm", Target: w.Target, IncludeDisks: include, ExcludeDisks: exclude}
		require.NoError(t, w.c.Create(w.ctx, b))
	}
	disksOf := func(b *v1alpha1.VMBackup) (names []string) {
		for _, d := range b.Status.Disks {
			names = append(names, d.Name)
		}
		return names
	}

	point("all", nil, nil)
	w.refusedBackup("all", patience, "disk share", "not on Longhorn")
	point("slip", nil, []string{"shore"})
	w.refusedBackup("slip", patience, "spec.excludeDisks", `no disk "shore"`, "root, data, share")
	point("without-share", nil, []string{"share"})
	require.Equal(t, []string{"root", "data"}, disksOf(w.awaitBackup("without-share", v1alpha1.BackupReady)))
	point("only-data", []string{"data"}, nil)
	require.Equal(t, []string{"data"}, disksOf(w.awaitBackup("only-data", v1alpha1.BackupReady)))
	w.nothingLeft()
}

// TestCancel: a point that is cancelled while its data moves ends as Failed,
// once its transfer has ended, and leaves nothing.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := kitWorld(t, newStack(t))
	g := w.kitGate()
	w.runningVM("vm", 32*mib)
	release := g.holdWrites(2)
	b := w.backupTo(g.target, "cancelled", "vm")
	w.awaitMoving(b, 1)
	w.patch(b, `{"spec":{"cancel":true}}`)
	w.eventually("the cancelled point to wait for its transfer", func() (bool, string) {
		now := w.pointNow("cancelled")
		return conditionText(now.Status.Conditions, v1alpha1.ConditionProgressing) != "" &&
			conditionText(now.Status.Conditions, v1alpha1.ConditionReady) != "", words(now.Status)
	})
	release()
	reason, _ := readyWords(t, w.awaitBackup("cancelled", v1alpha1.BackupFailed))
	require.Equal(t, "Cancelled", reason)
	w.nothingLeft()
	w.requireEmptyTarget()
	require.Empty(t, w.ourSnapshots("vm-root"))

	early := &v1alpha1.VMBackup{}
	early.Namespace, early.Name = w.ns, "early"
	early.Spec = v1alpha1.VMBackupSpec{VM: "vm", Target: w.Target, Cancel: true}
	require.NoError(t, w.c.Create(w.ctx, early))
	reason, _ = readyWords(t, w.awaitBackup("early", v1alpha1.BackupFailed))
	require.Equal(t, "Cancelled", reason)
	require.NoError(t, w.c.Get(w.ctx, client.ObjectKeyFromObject(early), early))
	require.Nil(t, early.Status.StartedAt, "nothing was begun")
}
