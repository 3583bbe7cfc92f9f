package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
	"hayloft.dev/test/harness"
)

// often has a coordinator look through its targets every second or two.
var often = harness.ProgramOptions{Args: []string{"--refresh-floor", "1s", "--refresh-default", "1s"}}

// share gives a cluster the target of another one, under a name of its own, to be
// looked through as often as its coordinator allows.
func (w *world) share(other *world, name string) {
	w.t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: name},
		StringData: map[string]string{target.AccessKeyID: other.S3.AccessKey, target.SecretAccessKey: other.S3.SecretKey},
	}
	require.NoError(w.t, w.c.Create(w.ctx, secret))
	one := resource.MustParse("1")
	t := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: name}}
	t.Spec.S3 = &v1alpha1.S3Target{Endpoint: other.S3.Endpoint, Bucket: other.S3.Bucket, Region: other.S3.Region}
	t.Spec.CredentialSecret, t.Spec.Refresh = name, &v1alpha1.TargetRefresh{Interval: "1s", MaxCPU: &one}
	require.NoError(w.t, w.c.Create(w.ctx, t))
}

// found waits until a point is there and Ready that this cluster has not taken.
func (w *world) found(name string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := w.awaitBackup(name, v1alpha1.BackupReady)
	require.NotNil(w.t, b.Spec.Found)
	require.Equal(w.t, v1alpha1.DeletionRetain, b.Spec.DeletionPolicy)
	require.Empty(w.t, b.Finalizers)
	return b
}

// TestTwoClustersOnOneTarget: backups that are made in one cluster appear in another
// one that has the target, and restore there to equal bytes when the first is gone.
// Neither's deletions touch the other's points.
func TestTwoClustersOnOneTarget(t *testing.T) {
	t.Parallel()
	first := bare(t, newStack(t))
	for _, n := range first.Nodes {
		first.startAgent(n.Name, harness.ProgramOptions{})
	}
	first.startCoordinator("first", often)
	second := bare(t, newStack(t))
	for _, n := range second.Nodes {
		second.startAgent(n.Name, harness.ProgramOptions{})
	}
	second.startCoordinator("second", often)
	require.NoError(t, second.c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: first.ns}}))
	second.ns = first.ns
	second.share(first, "shared")

	first.runningVM("shop", 64*mib)
	sums := first.quietHashes("shop", "root")
	for _, name := range []string{"nightly", "weekly", "kept"} {
		first.backup(name, "shop")
		first.awaitBackup(name, v1alpha1.BackupReady)
	}
	nightly, weekly := second.found("nightly"), second.found("weekly")
	second.found("kept")
	require.Equal(t, first.awaitBackup("nightly", v1alpha1.BackupReady).UID, nightly.Spec.Found.UID)

	// What the second deletes stays on the target, and away from the second.
	require.NoError(t, second.c.Delete(t.Context(), weekly))
	// What the first deletes with its data kept stays away from the first, and is
	// the second's to restore.
	kept := first.awaitBackup("kept", v1alpha1.BackupReady)
	kept.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	require.NoError(t, first.c.Update(t.Context(), kept))
	require.NoError(t, first.c.Delete(t.Context(), kept))
	forgotten := func(w *world, name string) func() (bool, string) {
		return func() (bool, string) {
			var bt v1alpha1.BackupTarget
			if err := w.c.Get(w.ctx, client.ObjectKey{Name: name}, &bt); err != nil {
				return false, err.Error()
			}
			s := bt.Status.Refresh
			return s != nil && s.Documents != nil && s.Documents.Forgotten == 1, words(s)
		}
	}
	second.eventually("the second to have forgotten one", forgotten(second, "shared"))
	first.eventually("the first to have forgotten one", forgotten(first, first.Target))
	for w, names := range map[*world][]string{first: {"nightly", "weekly"}, second: {"kept", "nightly"}} {
		var list v1alpha1.VMBackupList
		require.NoError(t, w.c.List(t.Context(), &list, client.InNamespace(w.ns)))
		var have []string
		for _, b := range list.Items {
			have = append(have, b.Name)
		}
		require.ElementsMatch(t, names, have)
	}
	first.awaitBackup("weekly", v1alpha1.BackupReady)

	// The first is gone: its S3 server alone is left of it.
	for _, p := range first.coordinators {
		p.Kill(t)
	}
	for _, p := range first.agents {
		p.Kill(t)
	}
	second.restore("r1", "nightly", "shop-nightly")
	second.restore("r2", "kept", "shop-kept")
	second.sameDisks(second.awaitRestore("r1", v1alpha1.RestoreReady), sums)
	second.sameDisks(second.awaitRestore("r2", v1alpha1.RestoreReady), sums)
}
