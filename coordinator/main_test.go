package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/test/harness"
)

// mounted is a folder as the kubelet makes it of a ConfigMap with one file.
type mounted struct {
	folder string
	round  int
}

func (m *mounted) file() string { return filepath.Join(m.folder, "config.yaml") }

func (m *mounted) swap(t *testing.T, text string) {
	m.round++
	fresh := fmt.Sprintf("..round-%d", m.round)
	require.NoError(t, os.Mkdir(filepath.Join(m.folder, fresh), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(m.folder, fresh, "config.yaml"), []byte(text), 0o644))
	require.NoError(t, os.Symlink(fresh, filepath.Join(m.folder, "..new")))
	require.NoError(t, os.Rename(filepath.Join(m.folder, "..new"), filepath.Join(m.folder, "..data")))
	if m.round == 1 {
		require.NoError(t, os.Symlink("..data/config.yaml", m.file()))
	} else {
		require.NoError(t, os.RemoveAll(filepath.Join(m.folder, fmt.Sprintf("..round-%d", m.round-1))))
	}
}

// TestConfigurationFile runs the program against a real API server and changes
// its configuration below it.
func TestConfigurationFile(t *testing.T) {
	harness.APIServer(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	stderr := os.Stderr
	os.Stderr = log
	t.Cleanup(func() {
		os.Stderr = stderr
		if said, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("the program's log:\n%s", said)
		}
	})
	targetio := filepath.Join(t.TempDir(), "targetio")
	require.NoError(t, os.WriteFile(targetio, nil, 0o755)) // no target is there that it were run for
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())

	m := &mounted{folder: t.TempDir()}
	m.swap(t, "limits: {jobsPerNode: 3}\n")
	args := []string{
		"--kubeconfig", harness.Kubeconfig(t), "--namespace", "default", "--targetio", targetio, "--listen", address,
		"--config", m.file(), "--max-jobs-per-node", "7", "--identity", "here",
	}
	f, err := parse(args)
	require.NoError(t, err)
	broken := f
	broken.config = filepath.Join(t.TempDir(), "broken.yaml")
	require.NoError(t, os.WriteFile(broken.config, []byte("limits: {"), 0o644))
	require.ErrorContains(t, broken.follow(nil, new(slog.LevelVar), nil, slog.Default()), "--config: "+broken.config)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, f) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()

	jobsPerNode := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool { return metric(address, "hayloft_node_jobs_limit") == want }, 2*time.Minute, 50*time.Millisecond, "limit %s", want)
	}
	says := func(pattern string) {
		t.Helper()
		require.Eventually(t, func() bool {
			data, err := os.ReadFile(log.Name())
			return err == nil && regexp.MustCompile(pattern).Match(data)
		}, 2*time.Minute, 50*time.Millisecond, pattern)
	}
	jobsPerNode("3")
	m.swap(t, "limits: {jobsPerNode: 5}\n")
	jobsPerNode("5")
	m.swap(t, "limits: {jobsPerNode: 0}\n")
	says(`level=WARN .*stays in force.*limits.jobsPerNode: 0 is out of bounds`)
	require.Equal(t, "5", metric(address, "hayloft_node_jobs_limit"))
	m.swap(t, "logLevel: debug\n") // without a number the flag's counts
	jobsPerNode("7")
	says(`level=DEBUG .*settings are in force`)
}

// metric is the value of one without labels, "" while it is not served.
func metric(address, name string) string {
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (.*)$`).FindSubmatch(data)
	if m == nil {
		return ""
	}
	return string(m[1])
}
