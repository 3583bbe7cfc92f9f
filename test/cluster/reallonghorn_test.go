package cluster

import (
	"fmt"
	"sync"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// working is TestRealLonghorn, if it is run, while it has use for all cores. Tests of what else a cluster is wait for that.
var working sync.WaitGroup

// TestRealLonghorn goes through VMs' lives, as far as they depend on longhorn-manager's behaviour, with the real one, its
// webhooks and instance managers. docs/longhorn.md says what is stood in for. Each scenario has VMs and targets of its own, so
// that it can be run alone (keepVar), and beside others but for the last ones, which meet every volume.
func TestRealLonghorn(t *testing.T) {
	needsCluster(t)
	if testing.Short() {
		t.Skip("`make e2e` has the real Longhorn")
	}
	k := keptCluster(t)
	isNew := k == nil
	if isNew {
		k = newCluster(t, "--crds", bin(t, "local/crds"), "--images", bin(t, "cluster/longhorn/image.tar"))
		k.makeNamespaces(t)
		k.installLonghorn(t)
		k.startStorage(t, "--real-longhorn")
		k.install(t)
	}
	k.isLonghornReal = true
	working.Add(1)
	waits := sync.OnceFunc(working.Done)
	t.Cleanup(waits)
	t.Parallel() // not before: this test takes longest, and from here on Longhorn looks at its disks first, for half a minute
	if isNew {
		k.awaitReady(t)
		k.awaitLonghorn(t)
		k.makeTarget(t)
	} else {
		k.clear(t)
	}
	theirs := k.newGate(t)
	k.longhornReads(t, theirs.endpoint)
	v := &victims{}
	t.Run("at once", func(t *testing.T) {
		t.Run("a VM migrates during backups", beside(k.migrates))
		t.Run("a VM starts and stops during backups", beside(k.startsAndStops))
		t.Run("a replica and an engine are lost", beside(k.losses))
		t.Run("Longhorn backs up too", beside(func(t *testing.T) { k.ownBackups(t, theirs) }))
		t.Run("snapshots", beside(k.snapshots))
		t.Run("disks over an image", beside(k.overImage))
		t.Run("a schedule", beside(k.schedules))
		t.Run("a stopped VM", beside(k.stoppedVM))
		t.Run("the main job", beside(func(t *testing.T) {
			k.mainJob(t)
			t.Run("blocks are missing and damaged on the target", func(t *testing.T) { k.misses(t, "shop-1") })
		}))
		t.Run("Longhorn shows what Hayloft makes", beside(k.shows))
		t.Run("VMs for what follows", beside(func(t *testing.T) { v.make(t, k) }))
	})
	k.keepVMs(t, "busy", "steered", "left") // else Longhorn would have a lot to rebuild of what nobody needs any more
	points := k.failures(t, v, waits)
	t.Run("the chart uninstalls and comes back", func(t *testing.T) { k.uninstalls(t, points) })
}

// shows: Longhorn has a Snapshot object for each snapshot of ours and a Backup object for each backup of ours, and they go
// with the point. Volumes stay healthy meanwhile.
func (k *cluster) shows(t *testing.T) {
	k.makeVM(t, "shown", k.Nodes[0].Name, 4)
	k.quiet(t, "shown")
	k.backup(t, "shown", "shown-1")
	volumes := map[string]bool{}
	for _, disk := range disks {
		volumes[k.volumeOf(t, "shown-"+disk)] = true
	}

	await(t, patience, "Longhorn's Snapshot objects", func() error { return want(len(disks), k.snapshotsOf(t, volumes)) })
	k.longhornLooks(t)
	await(t, patience, "Longhorn's Backup objects", func() error { return want(len(disks), k.backupsOf(t, volumes)) })

	require.NoError(t, k.c.Delete(t.Context(), &v1alpha1.VMBackup{ObjectMeta: k.point(t, "shown-1").ObjectMeta}))
	await(t, patience, "Longhorn's Snapshot objects to go", func() error { return want(0, k.snapshotsOf(t, volumes)) })
	await(t, patience, "Longhorn's Backup objects to go", func() error {
		k.longhornLooks(t)
		return want(0, k.backupsOf(t, volumes))
	})
	for name := range volumes {
		volume := &longhorn.Volume{}
		require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Namespace: harness.LonghornNamespace, Name: name}, volume))
		require.Equal(t, longhorn.VolumeRobustnessHealthy, volume.Status.Robustness)
	}
}

// snapshotsOf are the names of the volumes' snapshots that Longhorn calls ready.
func (k *cluster) snapshotsOf(t *testing.T, volumes map[string]bool) (names []string) {
	t.Helper()
	list := &longhorn.SnapshotList{}
	require.NoError(t, k.c.List(t.Context(), list, client.InNamespace(harness.LonghornNamespace)))
	for _, s := range list.Items {
		if volumes[s.Spec.Volume] && s.Status.ReadyToUse && s.Status.UserCreated {
			names = append(names, s.Name)
		}
	}
	return names
}

// backupsOf are the names of the volumes' backups that Longhorn calls completed.
func (k *cluster) backupsOf(t *testing.T, volumes map[string]bool) (names []string) {
	t.Helper()
	list := &longhorn.BackupList{}
	require.NoError(t, k.c.List(t.Context(), list, client.InNamespace(harness.LonghornNamespace)))
	for _, b := range list.Items {
		if volumes[b.Status.VolumeName] && b.Status.State == longhorn.BackupStateCompleted {
			names = append(names, b.Name)
		}
	}
	return names
}

func want(n int, names []string) error {
	if len(names) != n {
		return fmt.Errorf("there are %d, not %d: %v", len(names), n, names)
	}
	return nil
}
