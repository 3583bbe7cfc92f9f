package e2e

import (
	"fmt"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// quickLosses make a coordinator believe what it sees missing after a little more
// than the 5 s of Longhorn's poll.
var quickLosses = append([]string{"--loss-grace", "6s"}, quickSweeps...)

// snapshotWorld has two coordinators that soon believe that something is gone.
func snapshotWorld(t testing.TB, s *harness.Stack) *world {
	t.Helper()
	w := bare(t, s)
	w.startAgents()
	for _, identity := range []string{"coordinator-1", "coordinator-2"} {
		w.startCoordinator(identity, harness.ProgramOptions{Args: quickLosses})
	}
	return w
}

// snapshot makes a VMBackup of type Snapshot.
func (w *world) snapshot(name, vm string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, name
	b.Spec.VM, b.Spec.Type = vm, v1alpha1.TypeSnapshot
	require.NoError(w.t, w.c.Create(w.ctx, b))
	return b
}

// stoppedVM makes a VM with filled disks that does not run, and returns their
// hashes.
func (w *world) stoppedVM(name string, sizes ...int64) map[string]string {
	w.t.Helper()
	sums := map[string]string{}
	var claims []string
	for i, size := range sizes {
		disk := "root"
		if i > 0 {
			disk = fmt.Sprintf("data%d", i)
		}
		claim := name + "-" + disk
		w.filled(claim, size, len(name)*100+i)
		sums[disk] = w.sha256(claim)
		claims = append(claims, claim)
	}
	require.NoError(w.t, w.c.Create(w.ctx, w.vmSpec(name, claims, func(vm *kubevirt.VirtualMachine) {
		halted := kubevirt.RunStrategyHalted
		vm.Spec.RunStrategy = &halted
	})))
	w.awaitDetached(claims...)
	return sums
}

// awaitDetached waits until the volumes of claims are detached.
func (w *world) awaitDetached(claims ...string) {
	w.t.Helper()
	for _, claim := range claims {
		volume := w.volumeOf(claim)
		w.eventually("volume "+volume+" to be detached", func() (bool, string) {
			var v longhorn.Volume
			err := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: volume}, &v)
			return err == nil && v.Status.State == longhorn.VolumeStateDetached, string(v.Status.State)
		})
	}
}

// awaitLost waits until a point is DataLost.
func (w *world) awaitLost(name string) *v1alpha1.VMBackup {
	w.t.Helper()
	var b v1alpha1.VMBackup
	w.eventually("point "+name+" to be DataLost", func() (bool, string) {
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &b))
		return b.Status.Phase == v1alpha1.BackupDataLost, words(b.Status)
	})
	return &b
}

// volumesOfRestore are the Longhorn volumes that a restore has made and that are
// there.
func (w *world) volumesOfRestore(r *v1alpha1.VMRestore) (list []string) {
	w.t.Helper()
	var volumes longhorn.VolumeList
	require.NoError(w.t, w.c.List(w.ctx, &volumes, client.MatchingLabels{v1alpha1.LabelRestore: string(r.UID)}))
	for i := range volumes.Items {
		list = append(list, volumes.Items[i].Name)
	}
	return list
}

// pointSecret is the Secret that holds a point's document.
func (w *world) pointSecret(b *v1alpha1.VMBackup) (*corev1.Secret, error) {
	var s corev1.Secret
	err := w.c.Get(w.ctx, client.ObjectKey{Namespace: b.Namespace, Name: names.PointSecret(b.UID)}, &s)
	return &s, err
}

// requireKept: a Ready Snapshot point has one Secret, which it owns, nothing on
// the target, and names what each disk is kept in.
func (w *world) requireKept(b *v1alpha1.VMBackup) {
	w.t.Helper()
	require.Equal(w.t, names.PointSecret(b.UID), b.Status.Document)
	s, err := w.pointSecret(b)
	require.NoError(w.t, err)
	require.Len(w.t, s.OwnerReferences, 1)
	require.Equal(w.t, b.UID, s.OwnerReferences[0].UID)
	require.Len(w.t, s.Data, 1, "the document has taken the draft's place")
	require.Contains(w.t, s.Data, "document.json.gz")
	require.Empty(w.t, w.filesOf(b), "nothing of it is on the target")
	for _, d := range b.Status.Disks {
		require.Equal(w.t, v1alpha1.DiskDone, d.State)
		require.NotEmpty(w.t, d.Snapshot)
		require.Empty(w.t, d.Backup)
	}
}

// snapshotsAtRest attaches the volume of a claim that nobody uses, and lists
// the engine snapshots of ours.
func (w *world) snapshotsAtRest(claim string) (list []string) {
	w.t.Helper()
	w.awaitDetached(claim)
	volume := w.volumeOf(claim)
	const id = "test-look"
	change := func(ticket any) {
		va := &longhorn.VolumeAttachment{}
		va.Namespace, va.Name = harness.LonghornNamespace, volume
		require.NoError(w.t, w.c.Patch(w.ctx, va, client.RawPatch("application/merge-patch+json",
			fmt.Appendf(nil, `{"spec":{"attachmentTickets":{%q:%s}}}`, id, words(ticket)))))
	}
	change(map[string]any{
		"id": id, "type": "longhorn-api", "nodeID": w.Nodes[0].Name, "parameters": map[string]string{"disableFrontend": "false"},
	})
	defer w.awaitDetached(claim)
	defer change(nil)
	w.eventually("volume "+volume+" to be attached", func() (bool, string) {
		_, err := w.locate(volume)
		return err == nil, fmt.Sprint(err)
	})
	return w.ourSnapshots(claim)
}
