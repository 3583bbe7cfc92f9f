package targetwork_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/enginetest"
)

// kept makes a VM and a point of type Snapshot of it, and where its document is.
func (w *world) kept(t *testing.T, name string) (*vm, targetwork.Target) {
	t.Helper()
	v := w.makeVM(t, name, &enginetest.Volume{Name: "vol-" + name, SizeBytes: 64 << 20})
	for i := range v.disks {
		v.disks[i].Backup = ""
	}
	return v, protocol.InCluster(v.point)
}

func (w *world) pointSecret(t *testing.T, v *vm) *corev1.Secret {
	t.Helper()
	s, err := w.client.CoreV1().Secrets(w.vms).Get(t.Context(), names.PointSecret(v.point.UID), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(t, err)
	return s
}

// The life of a point's document in the cluster.
func TestPointInTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v, at := w.kept(t, "kept")
	path, err := document.PointPath(v.point.Namespace, v.point.Name, v.point.UID)
	require.NoError(t, err)

	_, err = w.Finalize(within(t, limit), at, v.finalize())
	failed(t, err, protocol.NotFound, "is not in the cluster")
	require.NoError(t, w.Capture(within(t, limit), at, v.capture()))
	require.NoError(t, w.Capture(within(t, limit), at, v.capture()), "a capture can be repeated")
	draft := w.pointSecret(t, v)
	require.Equal(t, corev1.SecretType("hayloft.dev/point"), draft.Type)
	require.Equal(t, string(v.point.UID), draft.Labels[v1alpha1.LabelPoint])
	require.Equal(t, []metav1.OwnerReference{{APIVersion: "hayloft.dev/v1alpha1", Kind: "VMBackup", Name: v.point.Name, UID: v.point.UID}}, draft.OwnerReferences)
	require.Contains(t, draft.Data, "draft.json.gz")
	_, err = w.ReadDocument(within(t, limit), at, readPoint(path, ""))
	failed(t, err, protocol.NotFound, "is not in the cluster")

	result, err := w.Finalize(within(t, limit), at, v.finalize())
	require.NoError(t, err)
	require.Equal(t, 1, result.Secrets)
	whole := w.pointSecret(t, v)
	require.Len(t, whole.Data, 1, "the document has taken the draft's place")
	again, err := w.Finalize(within(t, limit), at, v.finalize())
	require.NoError(t, err)
	require.Equal(t, result, again)
	require.NoError(t, w.Capture(within(t, limit), at, v.capture()), "a leader that was late")
	require.Equal(t, whole.ResourceVersion, w.pointSecret(t, v).ResourceVersion, "is not needed any more")

	d, err := w.ReadDocument(within(t, limit), at, readPoint(path, result.Digest))
	require.NoError(t, err)
	require.Equal(t, v.disks, d.Disks)
	require.Equal(t, v1alpha1.TypeSnapshot, d.Type())
	require.Empty(t, d.Secrets[0].Data["userdata"], "a secret value came to the coordinator")
	_, err = w.ReadDocument(within(t, limit), at, readPoint(path, "sha256:00"))
	failed(t, err, protocol.Mismatch, "it was exchanged")
	other := slices.Clone(v.disks)
	other[0].Snapshot = names.Snapshot(v.point.UID, 2, other[0].Name)
	changed := v.finalize()
	changed.Disks = other
	_, err = w.Finalize(within(t, limit), at, changed)
	failed(t, err, protocol.Mismatch, "it is not replaced")

	require.NoError(t, w.MakeSecrets(within(t, limit), at, v.secrets(path, w.vms)))
	failed(t, outcome(w.Probe(within(t, limit), at)), protocol.Invalid, "for targets")
	_, err = w.InspectBackups(within(t, limit), at, v.point.Namespace, v.disks)
	failed(t, err, protocol.Invalid, "for targets")

	deletion := targetwork.DeleteRequest{DocumentPath: path, DraftUID: v.point.UID}
	require.NoError(t, w.DeletePoint(within(t, limit), at, deletion))
	require.Nil(t, w.pointSecret(t, v))
	require.NoError(t, w.DeletePoint(within(t, limit), at, deletion), "it can be repeated")
}

func TestDraftInTheClusterIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v, at := w.kept(t, "half")
	require.NoError(t, w.Capture(within(t, limit), at, v.capture()))
	path, err := document.PointPath(v.point.Namespace, v.point.Name, v.point.UID)
	require.NoError(t, err)
	require.NoError(t, w.DeletePoint(within(t, limit), at, targetwork.DeleteRequest{DocumentPath: path, DraftUID: v.point.UID}))
	require.Nil(t, w.pointSecret(t, v))
}

// A Secret of the point's name that is not the point's is left alone.
func TestForeignSecretIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v, at := w.kept(t, "squat")
	foreign := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: names.PointSecret(v.point.UID)}, Data: map[string][]byte{"draft.json.gz": []byte("mine")},
	}
	_, err := w.client.CoreV1().Secrets(w.vms).Create(t.Context(), foreign, metav1.CreateOptions{})
	require.NoError(t, err)
	failed(t, w.Capture(within(t, limit), at, v.capture()), protocol.Mismatch, "it is not overwritten")
	failed(t, w.DeletePoint(within(t, limit), at, targetwork.DeleteRequest{DraftUID: v.point.UID}), protocol.Mismatch, "it is not overwritten")
	require.Equal(t, "mine", string(w.pointSecret(t, v).Data["draft.json.gz"]))
}

// What no Secret can hold is refused with the figures.
func TestDocumentTooLargeForTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v, at := w.kept(t, "large")
	noise := make([]byte, 900<<10)
	_, err := rand.Read(noise)
	require.NoError(t, err)
	init, err := w.client.CoreV1().Secrets(w.vms).Get(t.Context(), "large-init", metav1.GetOptions{})
	require.NoError(t, err)
	init.Data["noise"] = noise
	_, err = w.client.CoreV1().Secrets(w.vms).Update(t.Context(), init, metav1.UpdateOptions{})
	require.NoError(t, err)
	conf, err := w.client.CoreV1().ConfigMaps(w.vms).Get(t.Context(), "large-conf", metav1.GetOptions{})
	require.NoError(t, err)
	conf.BinaryData["noise"] = noise
	_, err = w.client.CoreV1().ConfigMaps(w.vms).Update(t.Context(), conf, metav1.UpdateOptions{})
	require.NoError(t, err)
	err = w.Capture(within(t, limit), at, v.capture())
	failed(t, err, protocol.Invalid, fmt.Sprintf("more than the %d that a Secret in the cluster may hold", corev1.MaxSecretSize))
	require.Nil(t, w.pointSecret(t, v))
}
