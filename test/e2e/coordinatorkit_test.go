package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// quickSweeps make a coordinator remove leftovers within seconds.
var quickSweeps = []string{"--sweep-every", "2s", "--sweep-grace", "2s", "--retry-after", "1s"}

// as is the same world for a subtest.
func (w *world) as(t testing.TB) *world {
	sub := *w
	sub.t, sub.ctx = t, t.Context()
	return &sub
}

// leader is the coordinator that holds the leader's Lease; nil while nobody does.
func (w *world) leader() *harness.Program {
	w.t.Helper()
	var l coordinationv1.Lease
	err := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.HayloftNamespace, Name: "coordinator"}, &l)
	require.NoError(w.t, client.IgnoreNotFound(err))
	if l.Spec.HolderIdentity == nil {
		return nil
	}
	for _, p := range w.coordinators {
		if p.Name == *l.Spec.HolderIdentity && p.Running() {
			return p
		}
	}
	return nil
}

func (w *world) awaitLeader() (found *harness.Program) {
	w.t.Helper()
	w.eventually("a living coordinator to lead", func() (bool, string) {
		found = w.leader()
		return found != nil, "none does"
	})
	return found
}

// deletePoints asks for points to be deleted; it does not wait.
func (w *world) deletePoints(points ...string) {
	w.t.Helper()
	for _, name := range points {
		b := &v1alpha1.VMBackup{}
		b.Namespace, b.Name = w.ns, name
		require.NoError(w.t, w.c.Delete(w.ctx, b))
	}
}

// awaitGone waits until points are deleted.
func (w *world) awaitGone(points ...string) {
	w.t.Helper()
	for _, name := range points {
		w.eventually("point "+name+" to be gone", func() (bool, string) { return w.pointGone(name) })
	}
}

func (w *world) pointGone(name string) (bool, string) {
	var b v1alpha1.VMBackup
	err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &b)
	if err != nil {
		return apierrors.IsNotFound(err), err.Error()
	}
	return false, words(b.Status)
}

// filesOf are the files on the target that belong to a point: its draft, its
// document and the configurations of its attempts.
func (w *world) filesOf(b *v1alpha1.VMBackup) (files []string) {
	for _, f := range w.onTarget() {
		if strings.Contains(f, string(b.UID)) {
			files = append(files, f)
		}
	}
	return files
}

// documentAndBackups are the document and the configurations among filesOf.
func (w *world) documentAndBackups(b *v1alpha1.VMBackup) (documents, backups []string) {
	for _, f := range w.filesOf(b) {
		switch {
		case strings.HasPrefix(f, "hayloft/points/"):
			documents = append(documents, f)
		case strings.Contains(f, "/backups/backup_"):
			backups = append(backups, f)
		}
	}
	return documents, backups
}

// requireEmptyTarget: no block, no backup, no lock, no document, no draft, nor
// any other file but the few hundred bytes of volume.cfg that backupstore keeps
// for each volume that ever had a backup, and files with the given suffixes. A
// probe may be under way, and leaves its file of 36 bytes when the coordinator is
// killed in the middle of it, which later ones remove when it is an hour old.
func (w *world) requireEmptyTarget(except ...string) {
	w.t.Helper()
	left := slices.DeleteFunc(w.onTarget(), func(f string) bool {
		return filepath.Base(f) == "volume.cfg" || strings.HasPrefix(f, "hayloft/probes/") || slices.ContainsFunc(except, func(suffix string) bool { return strings.HasSuffix(f, suffix) })
	})
	require.Empty(w.t, left, "left on the target")
}

// ageLocks makes every lock on the target look ten minutes old, in place of
// waiting the 150 s for which backupstore lets a dead process's lock stand. A
// lock's age is its file's on the server. Only for moments at which no transfer
// and no deletion lives.
func (w *world) ageLocks() {
	w.t.Helper()
	old := time.Now().Add(-10 * time.Minute)
	for _, f := range w.onTarget() {
		if strings.HasSuffix(f, ".lck") {
			if err := os.Chtimes(filepath.Join(w.bucket(), f), old, old); !os.IsNotExist(err) {
				require.NoError(w.t, err)
			}
		}
	}
}

// requireMadeOnce: a restore made exactly one VM and, for each disk, one claim,
// one PersistentVolume and one Longhorn volume.
func (w *world) requireMadeOnce(r *v1alpha1.VMRestore) {
	w.t.Helper()
	disks := len(r.Status.Disks)
	for _, made := range []struct {
		list client.ObjectList
		want int
	}{
		{&kubevirt.VirtualMachineList{}, 1},
		{&corev1.PersistentVolumeClaimList{}, disks},
		{&corev1.PersistentVolumeList{}, disks},
		{&longhorn.VolumeList{}, disks},
	} {
		require.NoError(w.t, w.c.List(w.ctx, made.list, client.MatchingLabels{v1alpha1.LabelRestore: string(r.UID)}))
		var found []string
		for _, o := range objects(made.list) {
			found = append(found, o.GetName())
		}
		require.Len(w.t, found, made.want, "%T of restore %s: %v", made.list, r.Name, found)
	}
	for _, d := range r.Status.Disks {
		require.EqualValues(w.t, 1, d.Attempt, "disk %s was restored once", d.Name)
	}
}

// requireWholeOnce: a Ready point has one document and, for each disk, one
// backup, of the first attempt.
func (w *world) requireWholeOnce(b *v1alpha1.VMBackup) {
	w.t.Helper()
	documents, backups := w.documentAndBackups(b)
	require.Equal(w.t, []string{b.Status.Document}, documents)
	require.Len(w.t, backups, len(b.Status.Disks), "%v", backups)
	for _, d := range b.Status.Disks {
		require.EqualValues(w.t, 1, d.Attempt, "disk %s was uploaded once", d.Name)
	}
}

// rewritten writes fresh random data onto a disk of a quiet, running VM and
// returns the disk's hash.
func (w *world) rewritten(vm, disk string, offset, length int64, seed int) string {
	w.t.Helper()
	w.guest("fill", vm, "--disk", disk, "--offset", fmt.Sprint(offset), "--length", fmt.Sprint(length), "--seed", fmt.Sprint(seed))
	return w.guest("hash", vm, "--disk", disk)
}
