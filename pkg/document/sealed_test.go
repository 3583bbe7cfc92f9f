package document_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/document"
)

const recipient = "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"

// sealed is a document whose Secrets are "encrypted" by being turned round.
func sealed(t testing.TB, d *document.Document) *document.Document {
	t.Helper()
	plain, err := d.Plain()
	require.NoError(t, err)
	d.Seal(turned(plain), []string{recipient})
	return d
}

func turned(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i] ^ 0x55
	}
	return out
}

func TestSealed(t *testing.T) {
	secrets := whole(2).Secrets
	d := sealed(t, whole(2))
	data := encoded(t, d)
	require.NotContains(t, string(data), "canary")
	require.NotContains(t, string(data), "userdata", "keys of Secrets tell something too")
	back, err := document.Parse(data)
	require.NoError(t, err)
	require.Equal(t, document.FormatSealed, back.FormatVersion)
	require.True(t, back.SecretsEncrypted)
	require.Zero(t, back.Readable())
	opened, err := back.Opened(turned(back.Sealed))
	require.NoError(t, err)
	require.Equal(t, secrets, opened)
	require.Nil(t, back.Public().Sealed)
}

// What is sealed for one point cannot be restored by way of another one's document.
func TestSealedElsewhere(t *testing.T) {
	d := sealed(t, whole(1))
	for name, change := range map[string]func(*document.Document){
		"another namespace": func(d *document.Document) { d.Point.Namespace, d.Origin.Namespace = "evil", "evil" },
		"another point":     func(d *document.Document) { d.Point.UID = uid(9) },
		"another VM":        func(d *document.Document) { d.Origin.VMUID = uid(9) },
		"another cluster":   func(d *document.Document) { d.Origin.ClusterUID = uid(9) },
		"another Secret":    func(d *document.Document) { d.Secrets[0].Name = "other" },
		"another type":      func(d *document.Document) { d.Secrets[0].Type = "kubernetes.io/basic-auth" },
	} {
		t.Run(name, func(t *testing.T) {
			other := *d
			other.Secrets = append([]document.Secret{}, d.Secrets...)
			change(&other)
			_, err := other.Opened(turned(other.Sealed))
			require.ErrorContains(t, err, "encrypted in it are")
		})
	}
	_, err := d.Opened([]byte(`{"unknown":1}`))
	require.Error(t, err)
	_, err = d.Opened(nil)
	require.Error(t, err)
}

func TestSealedRefusals(t *testing.T) {
	for name, change := range map[string]func(*document.Document){
		"values beside":    func(d *document.Document) { d.Secrets[0].Data = map[string][]byte{"k": []byte("v")} },
		"nothing sealed":   func(d *document.Document) { d.Sealed = nil },
		"no Secrets":       func(d *document.Document) { d.Secrets = nil },
		"no recipients":    func(d *document.Document) { d.Recipients = nil },
		"not a recipient":  func(d *document.Document) { d.Recipients[0] = "AGE-SECRET" },
		"not said":         func(d *document.Document) { d.SecretsEncrypted = false },
		"the older format": func(d *document.Document) { d.FormatVersion = document.FormatVersion },
	} {
		t.Run(name, func(t *testing.T) {
			d := sealed(t, whole(1))
			change(d)
			_, _, err := document.Encode(d)
			require.Error(t, err)
			raw, err := json.Marshal(d)
			require.NoError(t, err)
			_, err = document.Parse(document.Resign(raw))
			require.Error(t, err)
		})
	}
}
