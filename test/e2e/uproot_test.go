package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestOnlyAPointsOwnDeletionRemovesData: a namespace, Hayloft's definitions and
// Hayloft itself are deleted, with coordinators and without, while the target
// answers and while it does not. Nothing stays in its deletion for longer than
// somebody is there to let it go, not a file on the target is touched, and what
// was backed up can be restored afterwards.
func TestOnlyAPointsOwnDeletionRemovesData(t *testing.T) {
	t.Parallel()
	w := deletionWorld(t)
	target := w.ownTarget("mortal", w.S3.AccessKey, w.S3.SecretKey, nil).Name
	w.runningVM("vm", 32*mib)
	sums := w.quietHashes("vm", "root")
	w.backupTo(target, "point", "vm")
	kept := w.awaitBackup("point", v1alpha1.BackupReady)
	require.Equal(t, v1alpha1.DeletionDelete, kept.Spec.DeletionPolicy)
	w.snapshot("snap", "vm")
	w.awaitBackup("snap", v1alpha1.BackupReady)
	files := w.filesOf(kept)
	blocks := w.blocks()
	require.NotEmpty(t, files)
	untouched := func(w *world) {
		w.t.Helper()
		require.Equal(w.t, files, w.filesOf(kept), "the point's files on the target")
		require.Equal(w.t, blocks, w.blocks(), "the point's blocks")
	}

	t.Run("namespace, its target is dead", func(t *testing.T) {
		w := w.as(t)
		w.die(target)
		w.deleteNamespace(w.ns)
		w.awaitNamespaceGone(w.ns)
		w.nothingLeft()
		untouched(w)
		w.revive(target)
	})
	t.Run("namespace, no coordinator runs", func(t *testing.T) {
		w := w.as(t)
		w.killCoordinators()
		w.foundAgain(kept)
		w.deleteNamespace(w.ns)
		w.eventually("the namespace to say what it waits for", func() (bool, string) {
			var ns corev1.Namespace
			require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Name: w.ns}, &ns))
			said := words(ns.Status.Conditions)
			return strings.Contains(said, v1alpha1.FinalizerData), said
		})
		w.startCoordinators()
		w.awaitNamespaceGone(w.ns)
		untouched(w)
	})
	t.Run("definitions", func(t *testing.T) {
		w := w.as(t)
		w.killCoordinators()
		w.foundAgain(kept)
		w.startCoordinators()
		w.backup("of-nobody", "nobody")
		w.awaitBackup("of-nobody", v1alpha1.BackupFailed) // so there is a leader, and its caches are filled
		for _, d := range w.definitions() {
			require.NoError(t, w.c.Delete(w.ctx, d))
		}
		w.awaitNoDefinitions()
		untouched(w)
	})
	t.Run("definitions, no coordinator runs", func(t *testing.T) {
		w := w.as(t)
		w.killCoordinators()
		w.installDefinitions()
		w.foundAgain(kept)
		said := w.hayloft("uninstall", "--wait", "0s", "--yes")
		require.Contains(t, said, "1 backup")
		require.Contains(t, said, "data on targets is as it was")
		require.Empty(t, w.definitions())
		untouched(w)
	})
	t.Run("restored afterwards", func(t *testing.T) {
		w := w.as(t)
		w.installDefinitions()
		w.ownTargetAgain(target)
		w.makeNamespace()
		w.killAgents()
		w.startCoordinators()
		w.found(kept.Name) // by itself, on the target
		w.restore("r", kept.Name, "copy")
		w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
		w.nothingLeft()
		untouched(w)
	})
	t.Run("the release's namespace", func(t *testing.T) {
		w := w.as(t)
		w.killCoordinators()
		for _, a := range w.agents {
			a.Kill(t)
		}
		w.deleteNamespace(harness.HayloftNamespace)
		w.awaitNamespaceGone(harness.HayloftNamespace)
		untouched(w)
	})
}

func (w *world) killCoordinators() {
	w.t.Helper()
	for _, p := range w.coordinators {
		if p.Running() {
			p.Kill(w.t)
		}
	}
}

func (w *world) deleteNamespace(name string) {
	w.t.Helper()
	ns := &corev1.Namespace{}
	ns.Name = name
	require.NoError(w.t, w.c.Delete(w.ctx, ns))
}

func (w *world) awaitNamespaceGone(name string) {
	w.t.Helper()
	w.eventually("namespace "+name+" to be gone", func() (bool, string) {
		var ns corev1.Namespace
		err := w.c.Get(w.ctx, client.ObjectKey{Name: name}, &ns)
		return apierrors.IsNotFound(err), words(ns.Status.Conditions)
	})
}

// foundAgain makes the namespace, if it is gone, and in it the point as it was,
// as the one who finds its document does. No coordinator may run.
func (w *world) foundAgain(kept *v1alpha1.VMBackup) *v1alpha1.VMBackup {
	w.t.Helper()
	w.makeNamespace()
	b := &v1alpha1.VMBackup{Spec: *kept.Spec.DeepCopy()}
	b.Namespace, b.Name, b.Finalizers = w.ns, kept.Name, []string{v1alpha1.FinalizerData}
	require.NoError(w.t, w.c.Create(w.ctx, b))
	b.Status = *kept.Status.DeepCopy()
	require.NoError(w.t, w.c.Status().Update(w.ctx, b))
	return b
}

// makeNamespace makes the world's namespace, if it is gone.
func (w *world) makeNamespace() {
	w.t.Helper()
	ns := &corev1.Namespace{}
	ns.Name = w.ns
	if err := w.c.Create(w.ctx, ns); !apierrors.IsAlreadyExists(err) {
		require.NoError(w.t, err)
	}
}

var definitionKind = metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}

// definitions are those of Hayloft that are there.
func (w *world) definitions() (own []client.Object) {
	w.t.Helper()
	list := &metav1.PartialObjectMetadataList{TypeMeta: definitionKind}
	require.NoError(w.t, w.c.List(w.ctx, list))
	for i := range list.Items {
		if o := &list.Items[i]; strings.HasSuffix(o.Name, "."+v1alpha1.GroupVersion.Group) {
			o.TypeMeta = definitionKind
			own = append(own, o)
		}
	}
	return own
}

func (w *world) awaitNoDefinitions() {
	w.t.Helper()
	w.eventually("the definitions to be gone", func() (bool, string) {
		left := w.definitions()
		return len(left) == 0, words(left)
	})
}

// installDefinitions applies deploy/crds and waits until the API server serves
// all kinds.
func (w *world) installDefinitions() {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(moduleRoot(w.t), "deploy", "crds", "*.yaml"))
	require.NoError(w.t, err)
	require.NotEmpty(w.t, files)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(w.t, err)
		d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
		for {
			o := &unstructured.Unstructured{}
			if err := d.Decode(o); errors.Is(err, io.EOF) {
				break
			} else {
				require.NoError(w.t, err)
			}
			require.NoError(w.t, w.c.Create(w.ctx, o))
		}
	}
	for _, list := range []client.ObjectList{&v1alpha1.VMBackupList{}, &v1alpha1.VMRestoreList{}, &v1alpha1.BackupTargetList{}, &v1alpha1.NodeJobList{}, &v1alpha1.SnapshotQuotaList{}} {
		w.eventually("a new kind to be served", func() (bool, string) {
			err := w.c.List(w.ctx, list)
			return err == nil, words(err)
		})
	}
}

// ownTargetAgain makes a target that went with its definition; its Secret is
// still there.
func (w *world) ownTargetAgain(name string) {
	w.t.Helper()
	t := &v1alpha1.BackupTarget{}
	t.Name = name
	t.Spec.S3 = &v1alpha1.S3Target{Endpoint: w.S3.Endpoint, Insecure: true, Bucket: w.S3.Bucket, Region: w.S3.Region}
	t.Spec.CredentialSecret = name
	w.mustMake(t)
}

// hayloft runs the command line as the stack's administrator.
func (w *world) hayloft(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, filepath.Join(moduleRoot(w.t), "bin", "hayloft"), slices.Concat(args, []string{"--kubeconfig", w.Kubeconfig, "-n", w.ns})...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(w.t, cmd.Run(), "hayloft %s: %s", strings.Join(args, " "), &stderr)
	return strings.TrimSpace(stdout.String())
}
