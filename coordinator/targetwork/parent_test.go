package targetwork_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/test/enginetest"
)

// parentVariable makes this test binary a coordinator that probes a target and
// does nothing else. Its value is the worker and the directory.
const parentVariable = "TARGETWORK_TEST_PARENT"

func parentMode() bool {
	path := os.Getenv(parentVariable)
	if path == "" {
		return false
	}
	_, _ = (&targetwork.Caller{Path: path, Namespace: "n"}).Probe(context.Background(), directory("/"))
	return true
}

// A coordinator that is killed takes its workers along.
func TestChildEndsWithItsParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "pid")
	child := script(t, "echo $$ > "+pidFile+".new && mv "+pidFile+".new "+pidFile+"; exec sleep 300")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentVariable+"="+child)
	require.NoError(t, parent.Start())
	var pid string
	enginetest.Eventually(t, limit, "the child runs", func() bool {
		data, err := os.ReadFile(pidFile)
		pid = strings.TrimSpace(string(data))
		return err == nil
	})
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	enginetest.Eventually(t, limit, "the child is gone", func() bool { return !running(pid) })
}

// running tells whether a process exists and is not a zombie.
func running(pid string) bool {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}

// script is an executable shell script.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

// silent listens, accepts and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	return "http://" + l.Addr().String()
}
