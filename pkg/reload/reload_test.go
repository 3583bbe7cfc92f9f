package reload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	deadline = time.Minute
	never    = time.Hour
)

// mount is a folder as the kubelet makes it of a ConfigMap: its files are links
// into "..data", which is a link to a folder with a name of its own.
type mount struct {
	t      *testing.T
	folder string
	round  int
}

func newMount(t *testing.T, files map[string]string) *mount {
	m := &mount{t: t, folder: t.TempDir()}
	m.swap(files)
	for name := range files {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(m.folder, name)))
	}
	return m
}

func (m *mount) path(name string) string { return filepath.Join(m.folder, name) }

// swap is what the kubelet does when the ConfigMap has changed.
func (m *mount) swap(files map[string]string) {
	m.round++
	fresh := fmt.Sprintf("..2026_11_26_16_40_%02d.1234", m.round)
	require.NoError(m.t, os.Mkdir(m.path(fresh), 0o755))
	for name, text := range files {
		require.NoError(m.t, os.WriteFile(filepath.Join(m.folder, fresh, name), []byte(text), 0o644))
	}
	former, err := os.Readlink(m.path("..data"))
	require.NoError(m.t, os.Symlink(fresh, m.path("..data_tmp")))
	require.NoError(m.t, os.Rename(m.path("..data_tmp"), m.path("..data")))
	if err == nil {
		require.NoError(m.t, os.RemoveAll(m.path(former)))
	}
}

// text refuses what begins with "broken".
func text(contents [][]byte) (string, error) {
	var all []string
	for _, c := range contents {
		if strings.HasPrefix(string(c), "broken") {
			return "", errors.New("it is broken")
		}
		all = append(all, string(c))
	}
	return strings.Join(all, " "), nil
}

// followed are the values and refusals of a Value that runs.
type followed struct {
	*Value[string]
	values, refusals chan string
}

func follow(t *testing.T, o Options[string]) followed {
	f := followed{values: make(chan string, 10), refusals: make(chan string, 10)}
	o.Changed = func(s string) { f.values <- s }
	o.Log = slog.New(refused(f.refusals))
	if o.Parse == nil {
		o.Parse = text
	}
	if o.Settle == 0 {
		o.Settle = time.Millisecond
	}
	v, err := Open(o)
	require.NoError(t, err)
	f.Value = v
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return f
}

// refused is a log that passes warnings on.
type refused chan<- string

func (refused) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (r refused) WithAttrs([]slog.Attr) slog.Handler         { return r }
func (r refused) WithGroup(string) slog.Handler              { return r }

func (r refused) Handle(_ context.Context, record slog.Record) error {
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			r <- record.Message + ": " + a.Value.String()
		}
		return true
	})
	return nil
}

func next(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(deadline):
		t.Fatal("nothing came")
		return ""
	}
}

func TestSwap(t *testing.T) {
	m := newMount(t, map[string]string{"config": "one"})
	v := follow(t, Options[string]{Files: []string{m.path("config")}, Every: never})
	require.Equal(t, "one", v.Get())
	for _, s := range []string{"two", "three", "one"} {
		m.swap(map[string]string{"config": s})
		require.Equal(t, s, next(t, v.values))
		require.Equal(t, s, v.Get())
	}
}

func TestBrokenIsRefused(t *testing.T) {
	m := newMount(t, map[string]string{"config": "one"})
	v := follow(t, Options[string]{Files: []string{m.path("config")}, Every: never})
	m.swap(map[string]string{"config": "broken: {"})
	said := next(t, v.refusals)
	require.Contains(t, said, "what was read before stays in force")
	require.Contains(t, said, "it is broken")
	require.Equal(t, "one", v.Get())

	m.swap(map[string]string{"other": "x"}) // the key is gone
	require.Contains(t, next(t, v.refusals), "no such file")
	require.Equal(t, "one", v.Get())

	m.swap(map[string]string{"config": "two"})
	require.Equal(t, "two", next(t, v.values))
	require.Empty(t, v.refusals, "said once")
}

func TestFilesThatBelongTogether(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(file, s string) { require.NoError(t, os.WriteFile(file, []byte(s), 0o600)) }
	write(cert, "1")
	write(key, "1")
	v := follow(t, Options[string]{Files: []string{cert, key}, Every: never, Parse: func(c [][]byte) (string, error) {
		if string(c[0]) != string(c[1]) {
			return "", errors.New("the key is not the certificate's")
		}
		return string(c[0]), nil
	}})
	// Written in place, one after the other: half of the pair is never taken up.
	write(cert, "2")
	require.Contains(t, next(t, v.refusals), "the key is not the certificate's")
	require.Equal(t, "1", v.Get())
	write(key, "2")
	require.Equal(t, "2", next(t, v.values))
}

// TestWithoutEvents has a file change in a folder that nobody watches.
func TestWithoutEvents(t *testing.T) {
	elsewhere, dir := filepath.Join(t.TempDir(), "config"), t.TempDir()
	require.NoError(t, os.WriteFile(elsewhere, []byte("one"), 0o600))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, "config")))
	v := follow(t, Options[string]{Files: []string{filepath.Join(dir, "config")}, Every: 5 * time.Millisecond})
	require.NoError(t, os.WriteFile(elsewhere, []byte("two"), 0o600))
	for next(t, v.values) != "two" { // it may be seen half written
	}
	require.Equal(t, "two", v.Get())
}

// TestFolderMadeAnew removes the watched folder itself.
func TestFolderMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config.d")
	file := filepath.Join(dir, "config")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	v := follow(t, Options[string]{Files: []string{file}, Every: 20 * time.Millisecond})
	require.NoError(t, os.RemoveAll(dir))
	require.Contains(t, next(t, v.refusals), "no such file")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(file+".new", []byte("two"), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
	require.Equal(t, "two", next(t, v.values))
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(Options[string]{Files: []string{filepath.Join(dir, "none")}, Parse: text})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad"), []byte("broken"), 0o600))
	_, err = Open(Options[string]{Files: []string{filepath.Join(dir, "bad")}, Parse: text})
	require.ErrorContains(t, err, "bad: it is broken")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "huge"), make([]byte, maxSize+1), 0o600))
	_, err = Open(Options[string]{Files: []string{filepath.Join(dir, "huge")}, Parse: text})
	require.ErrorContains(t, err, "has 1048577 bytes: a mounted file has at most 1048576")
}
