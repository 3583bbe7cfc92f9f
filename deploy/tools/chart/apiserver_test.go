package chart

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startTime is how long the API server may take on a busy machine; it takes 4 s on
// two idle cores.
const startTime = 2 * time.Minute

// kubeconfig is the administrator's, of a real API server with no definitions of
// ours, which all tests here share. It ends when this process does, however that
// happens: it reads a pipe whose other end only this process holds. This module
// has no test/harness: that is the product's, with other versions of libraries.
func kubeconfig(t *testing.T) string {
	t.Helper()
	path, err := sharedServer()
	require.NoError(t, err)
	return path
}

var sharedServer = sync.OnceValues(func() (string, error) {
	kube, err := filepath.Abs("../../../bin/local/kube")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(kube); err != nil {
		return "", fmt.Errorf("%w: run `make local` first", err)
	}
	dir, err := os.MkdirTemp("", "hayloft-chart-")
	if err != nil {
		return "", err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(kube, "apiserver", "--dir", dir, "--ephemeral", "--with-parent")
	cmd.Stdout, cmd.Stderr = log, log
	if _, err := cmd.StdinPipe(); err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting the API server: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	path, limit, tick := filepath.Join(dir, "kubeconfig"), time.After(startTime), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		select {
		case err := <-ended:
			return "", fmt.Errorf("the API server ended before it was ready, see %s: %w", log.Name(), errors.Join(errors.New("it ended"), err))
		case <-limit:
			_ = cmd.Process.Kill()
			return "", fmt.Errorf("the API server was not ready after %s, see %s", startTime, log.Name())
		case <-tick.C:
		}
	}
})
