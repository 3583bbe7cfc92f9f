package s3_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/deploy/local/proc"
	"hayloft.dev/deploy/local/s3"
)

func TestServersDoNotShareAnything(t *testing.T) {
	binary, err := filepath.Abs("../../../bin/local/versitygw")
	require.NoError(t, err)
	_, err = os.Stat(binary)
	require.NoError(t, err, "run `make local` first")

	start := func() *s3.Server {
		dir := t.TempDir()
		table := proc.NewTable(filepath.Join(dir, "logs"))
		t.Cleanup(func() { table.StopAll(context.Background()) })
		server, err := s3.Start(t.Context(), table, binary, dir, "127.0.0.1")
		require.NoError(t, err)
		require.DirExists(t, filepath.Join(dir, "data", server.Bucket))
		return server
	}
	a, b := start(), start()
	require.NotEqual(t, a.Endpoint, b.Endpoint)
	require.NotEqual(t, a.AccessKey, b.AccessKey)
	require.NotEqual(t, a.SecretKey, b.SecretKey)

	response, err := http.Get(a.Endpoint + "/" + a.Bucket)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusForbidden, response.StatusCode, "nobody gets in without keys")
}

func TestAServerThatEndsIsAnError(t *testing.T) {
	dir := t.TempDir()
	table := proc.NewTable(filepath.Join(dir, "logs"))
	_, err := s3.Start(t.Context(), table, "/bin/false", dir, "127.0.0.1")
	require.ErrorContains(t, err, "ended")
	require.Empty(t, table.List())
}
