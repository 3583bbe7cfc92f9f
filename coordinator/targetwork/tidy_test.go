package targetwork_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/azurestand"
	"hayloft.dev/test/enginetest"
)

const probes = "hayloft/probes/"

// A coordinator that is killed in a probe leaves its file. Those of an hour ago go, and
// nothing else does.
func TestProbeTidies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, kind := range []string{"S3", "directory", "Azure"} {
		t.Run(kind, func(t *testing.T) {
			at, put, names := w.tidied(t, kind)
			old, hours, fresh := uuid.NewString(), uuid.NewString(), uuid.NewString()
			put(old, 61*time.Minute)
			put(hours, 30*time.Hour)
			put(fresh, 30*time.Minute)
			put("of-somebody-else", 30*time.Hour)
			put(strings.ToUpper(uuid.NewString())+".txt", 30*time.Hour)
			all := names()
			require.Len(t, all, 5)

			require.NoError(t, outcome(w.Probe(within(t, limit), at)))
			require.Equal(t, all, names(), "nobody asked for it")
			found, err := w.ProbeAndTidy(within(t, limit), at)
			require.NoError(t, err)
			require.Empty(t, found.Untidied)
			require.Equal(t, slices.DeleteFunc(all, func(n string) bool { return n == old || n == hours }), names())

			// So many at once that a probe still ends within its time, and the rest then.
			for range 20 {
				put(uuid.NewString(), 2*time.Hour)
			}
			require.NoError(t, outcome(w.ProbeAndTidy(within(t, limit), at)))
			require.GreaterOrEqual(t, len(names()), 3+4)
			for range 2 {
				require.NoError(t, outcome(w.ProbeAndTidy(within(t, limit), at)))
			}
			require.Len(t, names(), 3)
		})
	}
}

// tidied is a target of a kind, how a probe leaves a file there that is some time old,
// and the files that are left.
func (w *world) tidied(t *testing.T, kind string) (at targetwork.Target, put func(name string, age time.Duration), names func() []string) {
	t.Helper()
	if kind == "Azure" {
		stand := azurestand.Start(t, 5)
		put = func(name string, age time.Duration) {
			stand.PutAt(probes+name, []byte(name), time.Now().Add(-age))
		}
		return w.azure(t, stand), put, func() []string { return below(stand.Names()) }
	}
	dir := t.TempDir()
	at = directory(dir)
	if kind == "S3" {
		server := enginetest.StartS3(t)
		dir, at = server.Dir, w.s3(t, server.Target)
	}
	return at, func(name string, age time.Duration) { leave(t, dir, name, age) }, func() []string { return left(t, dir) }
}

func (w *world) azure(t *testing.T, stand *azurestand.Stand) targetwork.Target {
	t.Helper()
	at := targetwork.Target{Spec: v1alpha1.BackupTargetSpec{
		AzureBlob:        &v1alpha1.AzureBlobTarget{Endpoint: stand.URL, Insecure: true, Container: azurestand.Container},
		CredentialSecret: w.secret(t, map[string]string{"AZBLOB_ACCOUNT_NAME": azurestand.Account, "AZBLOB_ACCOUNT_KEY": azurestand.Key}),
	}}
	at.Name = "azure"
	return at
}

// leave makes a file below dir that a probe wrote some time ago.
func leave(t *testing.T, dir, name string, age time.Duration) {
	t.Helper()
	file := filepath.Join(dir, probes, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(name), 0o600))
	then := time.Now().Add(-age)
	require.NoError(t, os.Chtimes(file, then, then))
}

// left are the files of probes below dir.
func left(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, probes))
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func below(paths []string) (names []string) {
	for _, p := range paths {
		names = append(names, strings.TrimPrefix(p, probes))
	}
	return names
}

// What counts is the target's own clock: by one that is behind, another cluster's probe
// that is under way would look old.
func TestTidyingGoesByTheTargetsClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stand := azurestand.Start(t, 5)
	at := w.azure(t, stand)
	now := uuid.NewString()
	stand.Ahead(-3 * time.Hour)
	stand.PutAt(probes+now, []byte(now), time.Now().Add(-3*time.Hour))
	require.NoError(t, outcome(w.ProbeAndTidy(within(t, limit), at)))
	require.Equal(t, []string{probes + now}, stand.Names())
	stand.Ahead(3 * time.Hour)
	stand.PutAt(probes+now, []byte(now), time.Now().Add(time.Hour))
	require.NoError(t, outcome(w.ProbeAndTidy(within(t, limit), at)))
	require.Empty(t, stand.Names())
}

// A file that was being written to a directory has a name of its own.
func TestProbeTidiesWhatWasBeingWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	leave(t, dir, "."+uuid.NewString()+".tmp-123456", 2*time.Hour)
	leave(t, dir, "."+uuid.NewString(), 2*time.Hour)
	kept := left(t, dir)
	require.NoError(t, outcome(w.ProbeAndTidy(within(t, limit), directory(dir))))
	require.Len(t, left(t, dir), 1)
	require.Subset(t, kept, left(t, dir))
	require.NotContains(t, left(t, dir)[0], "tmp")
}

// A listing or a removal that fails is told, removes nothing and fails no probe; a
// target that is only read is not tidied.
func TestTidyingThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := enginetest.StartS3(t)
	leave(t, server.Dir, uuid.NewString(), 2*time.Hour)
	was := left(t, server.Dir)
	for what, refused := range map[string]func(*http.Request) bool{
		"listing": func(r *http.Request) bool { return strings.HasPrefix(r.URL.Query().Get("prefix"), probes) },
		"removing": func(r *http.Request) bool {
			return r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, was[0])
		},
		"looking": func(r *http.Request) bool { return r.Method == http.MethodHead },
	} {
		found, err := w.ProbeAndTidy(within(t, limit), w.s3(t, server.Behind(refused)))
		require.NoError(t, err, what)
		require.NotEmpty(t, found.Untidied, what)
		require.NotContains(t, found.Untidied, canary)
		require.Equal(t, was, left(t, server.Dir), what)
	}
	at := w.s3(t, server.Target)
	at.Spec.ReadOnly = true
	found, err := w.ProbeAndTidy(within(t, limit), at)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(targetwork.ProbeResult{}), fmt.Sprint(found))
	require.Equal(t, was, left(t, server.Dir))
}
