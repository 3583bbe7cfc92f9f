package command_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/cli/internal/command"
	"hayloft.dev/pkg/seal"
)

// The identity is in the file alone, which only its owner reads and which is never
// overwritten.
func TestKeyGenerate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "recovery.key")
	run := func() (code int, out, err string) {
		var o, e bytes.Buffer
		code = command.Run(context.Background(), command.Env{Program: "hayloft", Args: []string{"key", "generate", "-o", file}, Out: &o, Err: &e, Now: time.Now})
		return code, o.String(), e.String()
	}
	code, out, said := run()
	require.Zero(t, code, said)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	ids, err := seal.ParseIdentities(content)
	require.NoError(t, err)
	require.Equal(t, ids.Recipients(), []string{strings.TrimSpace(out)})
	require.NoError(t, seal.CheckRecipient(strings.TrimSpace(out)))
	require.NotContains(t, out+said, "AGE-SECRET-KEY")

	code, out, said = run()
	require.Equal(t, 1, code)
	require.Empty(t, out)
	require.Contains(t, said, "exists already")
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, content, again)
}
