package e2e

import (
	"crypto/rand"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/seal"
	"hayloft.dev/test/harness"
)

// often has a coordinator look through its targets every second or two.
var often = harness.ProgramOptions{Args: []string{"--refresh-floor", "1s", "--refresh-default", "1s"}}

// shared is the target of another cluster under a name of its own, to be looked
// through as often as a coordinator allows.
func shared(other *world, name string) *v1alpha1.BackupTarget {
	one := resource.MustParse("1")
	t := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: name}}
	t.Spec.S3 = &v1alpha1.S3Target{Endpoint: other.S3.Endpoint, Insecure: true, Bucket: other.S3.Bucket, Region: other.S3.Region}
	t.Spec.CredentialSecret, t.Spec.Refresh = name, &v1alpha1.TargetRefresh{Interval: "1s", MaxCPU: &one}
	return t
}

// encrypted has the Secrets of a world encrypted to this cluster's identity and to a
// recovery key, which it returns.
func (w *world) encrypted() (recovery string) {
	w.t.Helper()
	identity, recipient, err := seal.Generate()
	require.NoError(w.t, err)
	recovery, offline, err := seal.Generate()
	require.NoError(w.t, err)
	w.encryption(w.Target, identity, recipient, offline)
	return recovery
}

func (w *world) encryption(target, identity string, recipients ...string) {
	w.t.Helper()
	w.mustMake(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: "identity"},
		StringData: map[string]string{v1alpha1.SecretKeyIdentity: identity},
	})
	var t v1alpha1.BackupTarget
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Name: target}, &t))
	before := t.DeepCopy()
	t.Spec.Encryption = &v1alpha1.TargetEncryption{Recipients: recipients, IdentitySecret: "identity"}
	require.NoError(w.t, w.c.Patch(w.ctx, &t, client.MergeFrom(before)))
}

// shopWithSecret makes and starts the VM shop, whose password is in a Secret.
func (w *world) shopWithSecret(password string) {
	w.t.Helper()
	s := &corev1.Secret{StringData: map[string]string{"root": password}}
	s.Namespace, s.Name = w.ns, "shop-login"
	w.mustMake(s)
	w.filled("shop-root", 64*mib, 1)
	w.mustMake(w.vmSpec("shop", []string{"shop-root"}, func(vm *kubevirt.VirtualMachine) {
		vm.Spec.Template.Spec.AccessCredentials = []kubevirt.AccessCredential{{UserPassword: &kubevirt.UserPasswordAccessCredential{
			Source:            kubevirt.UserPasswordAccessCredentialSource{Secret: &kubevirt.AccessCredentialSecretSource{SecretName: "shop-login"}},
			PropagationMethod: kubevirt.UserPasswordAccessCredentialPropagationMethod{QemuGuestAgent: &kubevirt.QemuGuestAgentUserPasswordAccessCredentialPropagation{}},
		}}}
	}))
	w.awaitRunning("shop")
}

func (w *world) mustPatch(o client.Object, patch string) {
	w.t.Helper()
	require.NoError(w.t, w.c.Patch(w.ctx, o, client.RawPatch(types.MergePatchType, []byte(patch))))
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
// Neither's deletions touch the other's points. The VM's Secret comes with them by a
// recovery key that was kept offline. A backup of Harvester's is adopted, and what was
// claimed is deleted with its data.
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
	second.ns = first.ns
	day := newWorstDay(second, shared(first, "shared"), first.S3.AccessKey, first.S3.SecretKey, first.encrypted())
	day.begin()
	password := rand.Text()

	first.shopWithSecret(password)
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
	file := first.asHarvester("by-harvester", "shop", first.awaitBackup("weekly", v1alpha1.BackupReady))
	written, err := os.ReadFile(file)
	require.NoError(t, err)

	// The first is gone: its S3 server alone is left of it.
	for _, p := range first.coordinators {
		p.Kill(t)
	}
	for _, p := range first.agents {
		p.Kill(t)
	}
	// Nor are its Secrets: what they held is on the target, encrypted.
	b := second.found("nightly")
	require.Contains(t, meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady).Message, "1 Secret, encrypted")
	second.restore("r0", "nightly", "shop-too-soon")
	failed := second.awaitRestore("r0", v1alpha1.RestoreFailed)
	require.Contains(t, words(failed.Status.Conditions), "NoIdentity")
	require.Contains(t, words(failed.Status.Conditions), "spec.encryption.identitySecret")
	day.open()
	day.restore("nightly", "shop-nightly")
	second.awaitRunning("shop-nightly")
	second.restore("r2", "kept", "shop-kept")
	second.sameDisks(second.awaitRestore("r2", v1alpha1.RestoreReady), sums)
	var s corev1.Secret
	require.NoError(t, second.c.Get(t.Context(), client.ObjectKey{Namespace: second.ns, Name: "shop-nightly-shop-login"}, &s))
	require.Equal(t, password, string(s.Data["root"]))

	// A backup of Harvester's is restored as if it were ours, and left as it is.
	adopted := second.found("by-harvester")
	require.Equal(t, v1alpha1.MadeByHarvester, adopted.Spec.Found.MadeBy)
	second.restore("r3", "by-harvester", "shop-harvester")
	second.sameDisks(second.awaitRestore("r3", v1alpha1.RestoreReady), sums)
	require.NoError(t, second.c.Get(t.Context(), client.ObjectKey{Namespace: second.ns, Name: "shop-harvester-shop-login"}, &s))
	require.Equal(t, password, string(s.Data["root"]))
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, written, again)

	// The second's namespace goes, with its points and VMs. Nothing on the target does,
	// and the points are found again when there is such a namespace.
	before := first.pointsOnTarget()
	second.deleteNamespace(second.ns)
	second.awaitNamespaceGone(second.ns)
	require.Equal(t, before, first.pointsOnTarget())
	second.makeNamespace()
	nightly, adopted = second.found("nightly"), second.found("by-harvester")
	second.found("kept")

	// What the first has left is the second's to delete once it is claimed.
	backups := func() (n int) {
		return len(slices.DeleteFunc(first.pointsOnTarget(), func(p string) bool { return !strings.Contains(p, "/backups/backup_") }))
	}
	require.Equal(t, 3, backups())
	for i, b := range []*v1alpha1.VMBackup{nightly, adopted} {
		second.mustPatch(b, `{"spec":{"claimed":true,"deletionPolicy":"Delete"}}`)
		second.eventually("the point to be claimed", func() (bool, string) {
			require.NoError(t, second.c.Get(t.Context(), client.ObjectKeyFromObject(b), b))
			return len(b.Finalizers) == 1, words(b.Status.Conditions)
		})
		second.mustRemove(b)
		require.Equal(t, 2-i, backups())
	}
	require.NoFileExists(t, file)
	second.restore("r4", "kept", "shop-kept-again")
	second.sameDisks(second.awaitRestore("r4", v1alpha1.RestoreReady), sums)

	// A release that is removed leaves the target as it is.
	before = first.pointsOnTarget()
	second.coordinators[0].Kill(t)
	second.hayloft("uninstall", "--wait", "0s", "--yes")
	require.Equal(t, before, first.pointsOnTarget())
}

// pointsOnTarget are the documents and backups on a world's target.
func (w *world) pointsOnTarget() []string {
	w.t.Helper()
	return slices.DeleteFunc(w.onTarget(), func(p string) bool {
		return !strings.Contains(p, "/backups/backup_") && !strings.Contains(p, "hayloft/points/") && !strings.Contains(p, "harvester/")
	})
}
