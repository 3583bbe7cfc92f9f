package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestMainJob: three points of a running VM with two disks, the later ones
// incremental, each restored bit by bit; deleting all leaves no block.
func TestMainJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	w.runningVM("shop", 64*mib, 48*mib)

	first := w.quietHashes("shop", "root", "data1")
	w.backup("first", "shop")
	b := w.awaitBackup("first", v1alpha1.BackupReady)
	require.Equal(t, v1alpha1.ConsistencyNoAgent, b.Status.Consistency)
	require.NotEmpty(t, b.Status.Document)
	for _, d := range b.Status.Disks {
		require.False(t, d.Incremental, "disk %s: the first backup has no base", d.Name)
		require.Positive(t, *d.UploadedBytes)
	}

	w.guest("resume", "shop")
	w.guest("fill", "shop", "--disk", "data1", "--offset", fmt.Sprint(8*mib), "--length", fmt.Sprint(4*mib), "--seed", "9")
	second := w.quietHashes("shop", "root", "data1")
	w.backup("second", "shop")
	b2 := w.awaitBackup("second", v1alpha1.BackupReady)
	for i, d := range b2.Status.Disks {
		require.True(t, d.Incremental, "disk %s", d.Name)
		require.Less(t, *d.UploadedBytes, *b.Status.Disks[i].UploadedBytes/2, "disk %s", d.Name)
	}

	// The third backup removes the first point's engine snapshots along the way.
	w.guest("fill", "shop", "--disk", "root", "--offset", fmt.Sprint(2*mib), "--length", fmt.Sprint(6*mib), "--seed", "10")
	third := w.quietHashes("shop", "root", "data1")
	w.backup("third", "shop")
	b3 := w.awaitBackup("third", v1alpha1.BackupReady)
	for i, d := range b3.Status.Disks {
		require.True(t, d.Incremental, "disk %s", d.Name)
		require.Equal(t, []string{b.Status.Disks[i].Snapshot}, d.Superseded)
		require.ElementsMatch(t, []string{b2.Status.Disks[i].Snapshot, d.Snapshot}, w.ourSnapshots(d.Claim))
	}
	w.eventually("the first point to know", func() (bool, string) {
		now := w.awaitBackup("first", v1alpha1.BackupReady)
		return now.Status.Disks[0].Snapshot == "" && now.Status.Disks[1].Snapshot == "", words(now.Status.Disks)
	})

	w.restore("r1", "first", "shop-first")
	w.restore("r2", "second", "shop-second")
	w.restore("r3", "third", "shop-third")
	w.sameDisks(w.awaitRestore("r1", v1alpha1.RestoreReady), first)
	w.sameDisks(w.awaitRestore("r2", v1alpha1.RestoreReady), second)
	w.sameDisks(w.awaitRestore("r3", v1alpha1.RestoreReady), third)
	w.nothingLeft()

	for _, name := range []string{"first", "second", "third"} {
		o := &v1alpha1.VMBackup{}
		o.Namespace, o.Name = w.ns, name
		require.NoError(t, w.c.Delete(w.ctx, o))
	}
	w.eventually("the points to be gone", func() (bool, string) {
		var list v1alpha1.VMBackupList
		err := w.c.List(w.ctx, &list, client.InNamespace(w.ns))
		return err == nil && len(list.Items) == 0, words(list.Items)
	})
	require.Zero(t, w.blocks(), "blocks on the target: %v", w.onTarget())
	w.nothingLeft()
}
