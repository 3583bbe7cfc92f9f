// Package containertest runs a containerd of a test's own, with the real runc,
// and containers in it that carry the labels which a kubelet gives them. There is
// no kubelet, no registry and no image: a container's root is a folder.
package containertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
)

// Namespace is that of kubelets' containers.
const Namespace = "k8s.io"

// startTime bounds the start of a containerd.
const startTime = time.Minute

// config has what is not needed switched off; %[1]s is the folder.
const config = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "%[1]s/containerd.sock"
[ttrpc]
  address = "%[1]s/containerd.sock.ttrpc"
`

// Containerd is one that runs.
type Containerd struct {
	Socket string
	Client *containerd.Client

	t   testing.TB
	dir string // short: a socket's path has 107 bytes at most
	cmd *exec.Cmd
	end chan struct{}
}

// forker starts processes from one thread that lives as long as this process: the
// kernel sends a parent-death signal when the forking thread ends.
var forker = sync.OnceValue(func() chan<- func() {
	forks := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fork := range forks {
			fork()
		}
	}()
	return forks
})

// Start starts a containerd. At the end of the test it is gone with all its
// containers.
func Start(t testing.TB) *Containerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "containerd")
	if err != nil {
		t.Fatal(err)
	}
	c := &Containerd{Socket: filepath.Join(dir, "containerd.sock"), t: t, dir: dir}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), fmt.Appendf(nil, config, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Kill()
		if t.Failed() {
			if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil {
				t.Logf("containerd's log ends with:\n%s", log[max(0, len(log)-8000):])
			}
		}
	})
	c.Run()
	client, err := containerd.New(c.Socket, containerd.WithDefaultNamespace(Namespace), containerd.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	c.Client = client
	t.Cleanup(c.clear)
	return c
}

// clear ends the containers that are left: those which others have started here.
func (c *Containerd) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	left, err := c.Client.Containers(ctx)
	if err != nil {
		c.t.Errorf("listing the containers that are left: %v", err)
	}
	for _, o := range left {
		if task, err := o.Task(ctx, nil); err == nil {
			_ = task.Resume(ctx) // refused when it runs
			if _, err := task.Delete(ctx, containerd.WithProcessKill); err != nil {
				c.t.Errorf("ending container %s: %v", o.ID(), err)
			}
		}
		_ = o.Delete(ctx)
	}
}

// Run starts the daemon, again after Kill, and waits until it answers.
func (c *Containerd) Run() {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("containerd", "--config", filepath.Join(c.dir, "config.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	forker() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		c.t.Fatalf("starting containerd (make deps installs it): %v", err)
	}
	c.cmd, c.end = cmd, make(chan struct{})
	go func(end chan struct{}) {
		_ = cmd.Wait()
		close(end)
	}(c.end)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		client, err := containerd.New(c.Socket, containerd.WithDefaultNamespace(Namespace))
		if err == nil {
			_, err = client.Version(ctx)
			_ = client.Close()
		}
		if err == nil {
			return
		}
		select {
		case <-c.end:
			c.t.Fatalf("containerd ended while it started: %v", err)
		case <-ctx.Done():
			c.t.Fatalf("containerd does not answer: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Kill is kill -9 of the daemon; containers and their shims stay.
func (c *Containerd) Kill() {
	_ = c.cmd.Process.Kill() // an error means that it has ended
	<-c.end
}
