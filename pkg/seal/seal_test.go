package seal_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/seal"
)

func key(t testing.TB) (*seal.Identities, string, string) {
	t.Helper()
	identity, recipient, err := seal.Generate()
	require.NoError(t, err)
	ids, err := seal.ParseIdentities([]byte("# a comment\n\n" + identity + "\n"))
	require.NoError(t, err)
	require.Equal(t, []string{recipient}, ids.Recipients())
	return ids, identity, recipient
}

// Each recipient alone opens it, nobody else does, and a changed byte is noticed.
func TestSeal(t *testing.T) {
	own, _, ownRecipient := key(t)
	offline, _, offlineRecipient := key(t)
	stranger, _, _ := key(t)
	plain := []byte("canary " + strings.Repeat("x", 100000))
	sealed, err := seal.Seal(plain, []string{ownRecipient, offlineRecipient})
	require.NoError(t, err)
	require.NotContains(t, string(sealed), "canary")
	for _, ids := range []*seal.Identities{own, offline} {
		back, err := seal.Open(sealed, ids, 1<<20)
		require.NoError(t, err)
		require.Equal(t, plain, back)
	}
	_, err = seal.Open(sealed, stranger, 1<<20)
	require.ErrorIs(t, err, seal.ErrNoMatch)
	_, err = seal.Open(sealed, own, 10)
	require.ErrorContains(t, err, "larger than the 10 bytes")
	for _, at := range []int{0, len(sealed) / 2, len(sealed) - 1} {
		bad := bytes.Clone(sealed)
		bad[at] ^= 1
		_, err = seal.Open(bad, own, 1<<20)
		require.Error(t, err, "byte %d", at)
		require.NotContains(t, err.Error(), "canary")
	}
	_, err = seal.Open(sealed[:len(sealed)-100], own, 1<<20)
	require.Error(t, err)
}

func TestRefusals(t *testing.T) {
	_, identity, recipient := key(t)
	require.NoError(t, seal.CheckRecipient(recipient))
	for _, bad := range []string{"", "age1", recipient[:len(recipient)-1] + "x", identity, strings.ToUpper(recipient) + "q"} {
		require.Error(t, seal.CheckRecipient(bad), bad)
		_, err := seal.Seal([]byte("x"), []string{bad})
		require.Error(t, err)
		require.NotContains(t, err.Error(), identity[20:40], "an error that shows a secret")
	}
	_, err := seal.Seal([]byte("x"), nil)
	require.ErrorContains(t, err, "0 recipients")
	for _, bad := range []string{"", "# nothing", recipient, identity[:40], identity + "\nnonsense-line"} {
		_, err := seal.ParseIdentities([]byte(bad))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "nonsense")
		require.NotContains(t, err.Error(), identity[20:40], "an error that shows a secret")
	}
	_, err = seal.ParseIdentities([]byte(strings.Repeat(identity+"\n", 65)))
	require.ErrorContains(t, err, "more than 64")
}

// FuzzOpen: whatever lies on a target, Open neither panics nor takes it for sealed.
func FuzzOpen(f *testing.F) {
	ids, _, recipient := key(f)
	sealed, err := seal.Seal([]byte("plain"), []string{recipient})
	require.NoError(f, err)
	f.Add(sealed[:len(sealed)-1])
	f.Add([]byte("age-encryption.org/v1\n-> X25519 AAAA\nBBBB\n--- CCCC\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if plain, err := seal.Open(data, ids, 1<<10); err == nil && string(plain) != "plain" {
			t.Fatalf("opened what was not sealed: %q", plain)
		}
	})
}
