package targetwork_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
	"hayloft.dev/pkg/seal"
	"hayloft.dev/test/enginetest"
)

// identity makes a Secret with an age identity; it returns its name and recipient.
func (w *world) identity(t *testing.T) (name, recipient string) {
	t.Helper()
	identity, recipient, err := seal.Generate()
	require.NoError(t, err)
	s, err := w.client.CoreV1().Secrets(w.Namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "identity-"},
		StringData: map[string]string{v1alpha1.SecretKeyIdentity: "# made for a test\n" + identity + "\n"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return s.Name, recipient
}

// A document whose Secrets are encrypted: readable nowhere on the target from the
// draft on, restored with any of the identities, refused with a sentence without,
// and of no use in another point's document.
func TestSealedPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, ownRecipient := w.identity(t)
	offline, offlineRecipient := w.identity(t)
	stranger, strangerRecipient := w.identity(t)
	dir := t.TempDir()
	at := func(identity string, recipients ...string) targetwork.Target {
		target := directory(dir)
		target.Spec.Encryption = &v1alpha1.TargetEncryption{Recipients: recipients, IdentitySecret: identity}
		return target
	}
	v := w.makeVM(t, "sealed", &enginetest.Volume{Name: "vol-sealed", SizeBytes: 64 << 20})
	require.NoError(t, w.Capture(within(t, limit), at(own, ownRecipient, offlineRecipient), v.capture()))
	draftPath, err := document.DraftPath(v.point.UID)
	require.NoError(t, err)
	draft, err := os.ReadFile(filepath.Join(dir, draftPath))
	require.NoError(t, err)
	require.NotContains(t, string(draft), base64Of(guestSecret))
	d, err := document.ParseDraft(draft)
	require.NoError(t, err)

	// Its disks are of no matter here.
	r := v.finalize()
	d.Point, d.Consistency, d.Disks = r.Point, r.Consistency, r.Disks
	put := func(d *document.Document) string {
		data, _, err := document.Encode(d)
		require.NoError(t, err)
		path, err := document.PointPath(d.Point.Namespace, d.Point.Name, d.Point.UID)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, path), data, 0o600))
		return path
	}
	path := put(d)
	read := targetwork.ReadDocumentRequest{Path: path, Open: true}
	make := targetwork.MakeSecretsRequest{
		Path: path, Namespace: w.vms, Secrets: map[string]string{"sealed-init": "unsealed"}, Labels: map[string]string{v1alpha1.LabelRestore: "restore-1"},
	}
	for name, c := range map[string]struct {
		target targetwork.Target
		says   string
	}{
		"none":     {directory(dir), "names no identity"},
		"missing":  {at("nowhere"), "nowhere (spec.encryption.identitySecret) does not exist"},
		"not one":  {at(w.credential(t, "key", "secret")), "no age secret key"},
		"stranger": {at(stranger, strangerRecipient), strangerRecipient},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.ReadDocument(within(t, limit), c.target, read)
			failed(t, err, protocol.NoIdentity, c.says)
			require.ErrorContains(t, err, ownRecipient+", "+offlineRecipient)
			failed(t, w.MakeSecrets(within(t, limit), c.target, make), protocol.NoIdentity, c.says)
			_, err = w.ReadDocument(within(t, limit), c.target, readPoint(path, ""))
			require.NoError(t, err, "a restore without the Secrets is possible")
			without := make
			without.Secrets = nil
			require.NoError(t, w.MakeSecrets(within(t, limit), c.target, without))
		})
	}
	for _, identity := range []string{own, offline} {
		doc, err := w.ReadDocument(within(t, limit), at(identity), read)
		require.NoError(t, err)
		require.Empty(t, doc.Sealed)
		require.NoError(t, w.MakeSecrets(within(t, limit), at(identity), make))
		s, err := w.client.CoreV1().Secrets(w.vms).Get(t.Context(), "unsealed", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, []byte(guestSecret), s.Data["userdata"])
	}

	stolen := *d
	stolen.Point.UID = "00000000-0000-4000-8000-000000000001"
	stolen.Disks = slices.Clone(d.Disks)
	for i := range stolen.Disks {
		own := &stolen.Disks[i]
		own.Snapshot, own.Backup = names.Snapshot(stolen.Point.UID, 1, own.Name), names.Backup(stolen.Point.UID, own.Name, 1)
	}
	_, err = w.ReadDocument(within(t, limit), at(own), targetwork.ReadDocumentRequest{Path: put(&stolen), Open: true})
	failed(t, err, protocol.Mismatch, "put into another point's document")

	// A look through the target tells whether this cluster could restore.
	for identity, says := range map[string]string{own: "", offline: "no identity in Secret"} {
		result, _, err := w.Refresh(within(t, limit), at(identity, ownRecipient), targetwork.RefreshRequest{MaxDocuments: 10, MaxRead: 10, CPUMilliseconds: 60_000})
		require.NoError(t, err)
		require.Contains(t, result.Identity, says)
		require.Equal(t, says == "", result.Identity == "")
		require.Equal(t, []int{0, 1}, []int{result.Read[0].Secrets, result.Read[0].Sealed})
	}
}
