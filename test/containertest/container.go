package containertest

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// callTime bounds a request to containerd.
const callTime = 30 * time.Second

// Pod names the pod that a container says it is of.
type Pod struct {
	Namespace, Name, UID, Container string
	Sandbox                         bool
	// Volumes are PersistentVolumes that the container says it has mounted, and
	// ReadOnly those that it says it may only read. It does not really.
	Volumes, ReadOnly []string
}

// Labels are those that a kubelet's containerd puts on the container.
func (p Pod) Labels() map[string]string {
	labels := map[string]string{
		"io.kubernetes.pod.namespace": p.Namespace, "io.kubernetes.pod.name": p.Name, "io.kubernetes.pod.uid": p.UID,
		"io.cri-containerd.kind": "sandbox",
	}
	if !p.Sandbox {
		labels["io.cri-containerd.kind"], labels["io.kubernetes.container.name"] = "container", p.Container
	}
	return labels
}

// Container runs a writer.
type Container struct {
	Name string // in this test; the container's id is longer
	Dir  string // with the files A and B
	Task containerd.Task
	t    testing.TB
}

// Writer builds the writer; one of them does for any number of containers.
func Writer(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "writer")
	cmd := exec.Command("go", "build", "-o", path, "hayloft.dev/test/containertest/writer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the writer: %v\n%s", err, out)
	}
	return path
}

// Start starts a container that writes, and waits until it has. It is gone at the
// end of t.
func (c *Containerd) Start(t testing.TB, writer, name string, pod Pod) *Container {
	t.Helper()
	id := filepath.Base(c.dir) + "-" + name // runc's state is one of all containerds
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	root, data := filepath.Join(c.dir, name), filepath.Join(c.dir, name+"-data")
	for _, dir := range []string{root, data} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(writer)
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "writer"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.Client.NewContainer(ctx, id, containerd.WithContainerLabels(pod.Labels()), pod.metadata(), containerd.WithNewSpec(
		oci.WithRootFSPath(root), oci.WithProcessArgs("/writer", "/data"), oci.WithCgroup("/"+id),
		oci.WithMounts([]specs.Mount{{Type: "bind", Source: data, Destination: "/data", Options: []string{"rbind", "rw"}}}),
	))
	if err != nil {
		t.Fatal(err)
	}
	task, err := made.NewTask(ctx, cio.NullIO)
	if err == nil {
		err = task.Start(ctx)
	}
	if err != nil {
		t.Fatalf("starting container %s: %v", id, err)
	}
	out := &Container{Name: name, Dir: data, Task: task, t: t}
	t.Cleanup(func() { c.remove(out) })
	out.AwaitWrites()
	return out
}

// Sandbox makes the sandbox of a pod, as containerd's CRI plug-in has it: with what
// the kubelet asked for, annotations of the pod among it. No process is in it. It is
// gone at the end of t.
func (c *Containerd) Sandbox(t testing.TB, name string, pod Pod, annotations map[string]string) {
	t.Helper()
	pod.Sandbox = true
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	root := filepath.Join(c.dir, name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	made, err := c.Client.NewContainer(ctx, filepath.Base(c.dir)+"-"+name, containerd.WithContainerLabels(pod.Labels()),
		containerd.WithNewSpec(oci.WithRootFSPath(root)),
		containerd.WithContainerExtension("io.cri-containerd.sandbox.metadata", &sandbox{Version: "v1", Metadata: sandboxMetadata{Config: sandboxConfig{Annotations: annotations}}}))
	if err != nil {
		t.Fatalf("making sandbox %s: %v", name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		defer cancel()
		_ = made.Delete(ctx)
	})
}

// metadata is what the CRI plug-in keeps of a pod's container: the volumes where a
// kubelet has them.
func (p Pod) metadata() containerd.NewContainerOpts {
	var m container
	m.Version = "v1"
	for readOnly, volumes := range map[bool][]string{false: p.Volumes, true: p.ReadOnly} {
		for _, v := range volumes {
			m.Metadata.Config.Mounts = append(m.Metadata.Config.Mounts, mount{
				HostPath: "/var/lib/kubelet/pods/" + p.UID + "/volumes/kubernetes.io~csi/" + v + "/mount", ReadOnly: readOnly,
			})
		}
	}
	return containerd.WithContainerExtension("io.cri-containerd.container.metadata", &m)
}

// sandbox is the beginning of what the CRI plug-in keeps of a sandbox, and container
// that of a container, in the JSON that their Metadata make of themselves.
type (
	sandbox struct {
		Version  string
		Metadata sandboxMetadata
	}
	sandboxMetadata struct{ Config sandboxConfig }
	sandboxConfig   struct {
		Annotations map[string]string `json:"annotations"`
	}
	container struct {
		Version  string
		Metadata containerMetadata
	}
	containerMetadata struct{ Config containerConfig }
	containerConfig   struct {
		Mounts []mount `json:"mounts,omitempty"`
	}
	mount struct {
		HostPath string `json:"host_path,omitempty"`
		ReadOnly bool   `json:"readonly,omitempty"`
	}
)

func init() {
	typeurl.Register(&sandbox{}, "github.com/containerd/cri/pkg/store/sandbox", "Metadata")
	typeurl.Register(&container{}, "github.com/containerd/cri/pkg/store/container", "Metadata")
}

// remove ends a container, paused or not.
func (c *Containerd) remove(o *Container) {
	select {
	case <-c.end:
		c.Run() // it knows how to end the shim
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	_ = o.Task.Resume(ctx) // refused when it runs
	exit, err := o.Task.Wait(ctx)
	if err == nil {
		_ = o.Task.Kill(ctx, syscall.SIGKILL)
		<-exit
	}
	if _, err := o.Task.Delete(ctx); err != nil {
		o.t.Errorf("removing container %s: %v", o.Name, err)
	}
}

// Numbers are what A and B say, A read first.
func (o *Container) Numbers() (a, b uint64) {
	o.t.Helper()
	read := func(name string) uint64 {
		data, err := os.ReadFile(filepath.Join(o.Dir, name))
		if os.IsNotExist(err) || err == nil && len(data) == 0 {
			return 0
		}
		if err != nil || len(data) != 8 {
			o.t.Fatalf("%s has %d bytes: %v", name, len(data), err)
		}
		return binary.BigEndian.Uint64(data)
	}
	a = read("A")
	return a, read("B")
}

// AwaitWrites waits until the container has written once more.
func (o *Container) AwaitWrites() {
	o.t.Helper()
	_, before := o.Numbers()
	for end := time.Now().Add(callTime); ; time.Sleep(time.Millisecond) {
		if _, now := o.Numbers(); now > before {
			return
		}
		if time.Now().After(end) {
			o.t.Fatalf("container %s does not write", o.Name)
		}
	}
}

// Pause pauses it as somebody else would. On a busy machine runc may not get all of it
// to stand still at once (unable to freeze), and then lets it go on.
func (o *Container) Pause() {
	o.t.Helper()
	var err error
	for range 20 {
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		err = o.Task.Pause(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	o.t.Fatalf("pausing %s: %v", o.Name, err)
}

// Paused says whether containerd has it paused.
func (o *Container) Paused() bool {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	status, err := o.Task.Status(ctx)
	if err != nil {
		o.t.Fatal(err)
	}
	return status.Status == containerd.Paused
}
