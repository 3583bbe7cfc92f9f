package store

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/azurestand"
)

func openAzure(t *testing.T, endpoint, key string, change func(*v1alpha1.AzureBlobTarget)) *Store {
	t.Helper()
	spec := v1alpha1.AzureBlobTarget{Endpoint: endpoint, Insecure: true, Container: azurestand.Container, Prefix: "team"}
	if change != nil {
		change(&spec)
	}
	s, err := Open(v1alpha1.BackupTargetSpec{AzureBlob: &spec}, map[string][]byte{"AZBLOB_ACCOUNT_NAME": []byte(azurestand.Account), "AZBLOB_ACCOUNT_KEY": []byte(key)}, Place{})
	require.NoError(t, err)
	return s
}

func TestAzure(t *testing.T) {
	stand := azurestand.Start(t, 2)
	s := openAzure(t, stand.URL, azurestand.Key, nil)
	ctx := t.Context()
	names, err := s.List(ctx, "")
	require.NoError(t, err)
	require.Empty(t, names)
	for _, path := range []string{"a/1", "a/2", "a/b/3", "a/b/4", "a/c/5", "other"} {
		require.NoError(t, s.Write(ctx, path, []byte("content of "+path)))
	}
	stand.Put("not ours", []byte("x"))
	names, err = s.List(ctx, "a")
	require.NoError(t, err)
	slices.Sort(names)
	require.Equal(t, []string{"1", "2", "b", "c"}, names)

	found := map[string]File{}
	require.NoError(t, s.Walk(ctx, "a", func(f File) error { found[f.Path] = f; return nil }))
	require.Len(t, found, 5)
	require.EqualValues(t, len("content of a/b/3"), found["a/b/3"].Size)
	require.NotEmpty(t, found["a/b/3"].Version)
	require.NotEqual(t, found["a/b/3"].Version, found["a/b/4"].Version)

	data, err := s.Read(ctx, "a/b/3", 100)
	require.NoError(t, err)
	require.Equal(t, "content of a/b/3", string(data))
	size, err := s.Size(ctx, "a/b/3")
	require.NoError(t, err)
	require.EqualValues(t, len(data), size)
	require.NoError(t, s.Remove(ctx, "a/b/3"))
	require.NoError(t, s.Remove(ctx, "a/b/3"), "what is not there is fine")
	_, err = s.Read(ctx, "a/b/3", 100)
	require.ErrorIs(t, err, ErrMissing)
	_, err = s.Size(ctx, "a/b/3")
	require.ErrorIs(t, err, ErrMissing)
	for _, name := range stand.Names() {
		require.True(t, strings.HasPrefix(name, "team/") || name == "not ours", name)
	}

	keeps, err := s.Trial(ctx, "hayloft/probes/x", []byte("x"))
	require.NoError(t, err)
	require.Empty(t, keeps)
	stand.SoftDelete(true)
	keeps, err = s.Trial(ctx, "hayloft/probes/x", []byte("x"))
	require.NoError(t, err)
	require.Equal(t, protocol.KeepsDeleted, keeps)
	require.NoError(t, s.Readable(ctx, "absent"))
}

func TestAzureTellsTheCause(t *testing.T) {
	endpoint := azurestand.Start(t, 2).URL
	for name, c := range map[string]struct {
		store  *Store
		reason protocol.Reason
		says   string
	}{
		"wrong key":         {openAzure(t, endpoint, "d3Jvbmc=", nil), protocol.InvalidCredentials, "correct AZBLOB_ACCOUNT_KEY"},
		"missing container": {openAzure(t, endpoint, azurestand.Key, func(a *v1alpha1.AzureBlobTarget) { a.Container = "absent" }), protocol.BucketNotFound, "create the container"},
		"nothing listens":   {openAzure(t, "http://127.0.0.1:1", azurestand.Key, nil), protocol.Unreachable, "correct spec.azureBlob.endpoint"},
		"no TLS":            {openAzure(t, "https"+strings.TrimPrefix(endpoint, "http"), azurestand.Key, nil), protocol.Unreachable, "with spec.azureBlob.insecure"},
	} {
		_, err := c.store.List(t.Context(), "")
		var e *protocol.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, c.reason, e.Reason, "%s: %v", name, err)
		require.Contains(t, e.Message, c.says, name)
	}
}
