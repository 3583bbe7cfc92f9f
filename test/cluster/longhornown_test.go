package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// ownBackups: Longhorn itself backs up a disk of which Hayloft wants a backup. theirs is the gate in Longhorn's way.
func (k *cluster) ownBackups(t *testing.T, theirs *gate) {
	g := k.makeGate(t, "both")
	k.makeVM(t, "both", k.Nodes[0].Name, 6)
	volume := k.volumeOf(t, "both-"+disks[0])
	t.Run("Hayloft waits for Longhorn", func(t *testing.T) { k.waits(t, theirs, volume) })
	t.Run("Longhorn waits for nobody", func(t *testing.T) { k.goesAstray(t, g, theirs, volume) })
}

// waits: Longhorn's backup is in its middle. Hayloft's begins when it has ended, and says so; both become whole.
func (k *cluster) waits(t *testing.T, theirs *gate, volume string) {
	want := k.quiet(t, "both")
	theirs.close()
	defer theirs.open()
	own := k.longhornBacksUp(t, "own-1-"+volume, volume)
	theirs.awaitHeld(t)
	await(t, patience, "Longhorn to call it in progress", func() error { return k.ownIs(t, own, longhorn.BackupStateInProgress) })
	k.run(t, "hayloft", "backup", "create", "both", "--name", "both-1", "--target", target, "-n", vmNamespace)
	await(t, patience, "Hayloft to say what it waits for", func() error {
		said := "nothing"
		if c := meta.FindStatusCondition(k.point(t, "both-1").Status.Conditions, v1alpha1.ConditionProgressing); c != nil {
			said = c.Message
		}
		if !strings.Contains(said, "Longhorn's own backup "+own+" of volume "+volume+" is being made") {
			return fmt.Errorf("it says %q", said)
		}
		return nil
	})
	require.NoError(t, k.ownIs(t, own, longhorn.BackupStateInProgress))
	theirs.open()
	k.awaitPoint(t, "both-1")
	k.requireBoth(t, own, "both-1", want)
}

// goesAstray: Longhorn begins a backup in the middle of Hayloft's. The replica then has Longhorn's endpoint and key for both,
// and Longhorn's key is not one for what Hayloft writes. Hayloft begins anew.
func (k *cluster) goesAstray(t *testing.T, g, theirs *gate, volume string) {
	// On this disk alone, so that what the gate holds is of it.
	k.guest(t, "fill", "both", "--disk", disks[0], "--seed", "500", "--length", strconv.Itoa(16*mib))
	want := k.quiet(t, "both")
	defer theirs.refuse("")
	var own string
	k.during(t, g, "both", "both-2", func() {
		theirs.refuse(names.Backup(k.point(t, "both-2").UID, disks[0], 1))
		own = k.longhornBacksUp(t, "own-2-"+volume, volume)
		await(t, patience, "Longhorn's backup", func() error { return k.ownIs(t, own, longhorn.BackupStateCompleted) })
	})
	require.Positive(t, theirs.turnedAway(), "what Hayloft's transfer wrote came by Longhorn's endpoint")
	for _, disk := range k.point(t, "both-2").Status.Disks {
		if disk.Volume == volume {
			require.EqualValues(t, 2, disk.Attempt)
		}
	}
	k.requireBoth(t, own, "both-2", want)
}

// requireBoth restores a backup of Longhorn's own by Longhorn, and the point of Hayloft's beside which it was made, and compares
// both.
func (k *cluster) requireBoth(t *testing.T, own, point string, want map[string]string) {
	await(t, patience, "Longhorn's backup", func() error { return k.ownIs(t, own, longhorn.BackupStateCompleted) })
	restored := k.longhornRestores(t, own, point+"-longhorn")
	k.requireRestores(t, point, point+"-back", want)
	key := client.ObjectKeyFromObject(restored)
	await(t, patience, "Longhorn's restore", func() error {
		require.NoError(t, k.c.Get(t.Context(), key, restored))
		require.NotEqual(t, longhorn.VolumeRobustnessFaulted, restored.Status.Robustness)
		if is := restored.Status; is.RestoreRequired || !is.RestoreInitiated || is.State != longhorn.VolumeStateDetached {
			return fmt.Errorf("volume %s is %s; it is to be restored: %v", key.Name, is.State, is.RestoreRequired)
		}
		return nil
	})
	k.requireOnReplicas(t, key.Name, want[disks[0]])
	require.NoError(t, k.c.Delete(t.Context(), restored))
}

// longhornRestores has Longhorn restore a backup of its own to a new volume.
func (k *cluster) longhornRestores(t *testing.T, own, volume string) *longhorn.Volume {
	t.Helper()
	b := &longhorn.Backup{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Namespace: harness.LonghornNamespace, Name: own}, b))
	v := &longhorn.Volume{ObjectMeta: metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: volume}, Spec: longhorn.VolumeSpec{
		Size: diskSize, NumberOfReplicas: 2, FromBackup: b.Status.URL, Frontend: longhorn.VolumeFrontendISCSI,
		AccessMode: longhorn.AccessModeReadWriteOnce, DataEngine: longhorn.DataEngineTypeV1,
	}}
	// Its webhook refuses until Longhorn has listed its target once more, and knows the volume there.
	await(t, patience, "Longhorn to know the volume's backups", func() error { return k.c.Create(t.Context(), v) })
	return v
}

// longhornBacksUp has Longhorn cut and back up a volume by itself, as its users do. It returns the backup's name.
func (k *cluster) longhornBacksUp(t *testing.T, name, volume string) string {
	t.Helper()
	named := metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: name}
	snapshot := &longhorn.Snapshot{ObjectMeta: named, Spec: longhorn.SnapshotSpec{Volume: volume, CreateSnapshot: true}}
	require.NoError(t, k.c.Create(t.Context(), snapshot))
	await(t, patience, "Longhorn's snapshot", func() error {
		if err := k.c.Get(t.Context(), client.ObjectKeyFromObject(snapshot), snapshot); err != nil {
			return err
		}
		if !snapshot.Status.ReadyToUse {
			return fmt.Errorf("it is not ready: %q", snapshot.Status.Error)
		}
		return nil
	})
	named.Labels = map[string]string{"backup-volume": volume}
	require.NoError(t, k.c.Create(t.Context(), &longhorn.Backup{ObjectMeta: named, Spec: longhorn.BackupSpec{SnapshotName: name}}))
	return name
}

// ownIs says in which other state a backup of Longhorn's own is.
func (k *cluster) ownIs(t *testing.T, name string, state longhorn.BackupState) error {
	b := &longhorn.Backup{}
	if err := k.c.Get(t.Context(), client.ObjectKey{Namespace: harness.LonghornNamespace, Name: name}, b); err != nil {
		return err
	}
	require.NotEqual(t, longhorn.BackupStateError, b.Status.State, b.Status.Error)
	if b.Status.State != state {
		return fmt.Errorf("it is %q: %v", b.Status.State, b.Status.Messages)
	}
	return nil
}
