package containers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"

	"hayloft.dev/agent/pauser/wire"
)

const (
	// kindSandbox is what ContainerType says of a pod's sandbox.
	kindSandbox = "sandbox"
	// sandboxMetadata is the extension in which containerd's CRI plug-in keeps what
	// the kubelet has asked for a sandbox, in versions 1 and 2 alike.
	sandboxMetadata = "io.cri-containerd.sandbox.metadata"
	// endTime is how long a command that was killed may take to be gone.
	endTime = 5 * time.Second
)

// Annotations are those of a pod as the kubelet has told them to containerd when
// it made the pod's sandbox. Whoever changes them in the API server later changes
// nothing here.
func (c *Containerd) Annotations(ctx context.Context, pod wire.Pod) (map[string]string, error) {
	all, err := c.ofPod(ctx, pod, kindSandbox)
	if err != nil {
		return nil, fmt.Errorf("looking for the sandbox of %s: %w", nameOf(pod), err)
	}
	var newest time.Time
	var data []byte
	for _, found := range all {
		info, err := found.Info(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading sandbox %s: %w", found.ID(), err)
		}
		// A pod whose sandbox has ended gets another one.
		if e := info.Extensions[sandboxMetadata]; e != nil && info.CreatedAt.After(newest) {
			newest, data = info.CreatedAt, e.GetValue()
		}
	}
	if data == nil {
		return nil, fmt.Errorf("containerd has no sandbox of %s", nameOf(pod))
	}
	var m struct {
		Metadata struct {
			Config struct {
				Annotations map[string]string `json:"annotations"`
			}
		}
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("reading what the sandbox of %s was made of: %w", nameOf(pod), err)
	}
	return m.Metadata.Config.Annotations, nil
}

// Run runs a command in a container as its own user, in its own environment, as
// nerdctl exec does. Its output goes nowhere, since it may hold what is secret. A
// command that takes too long is killed; what it has started itself is not.
func (c *Containerd) Run(ctx context.Context, id string, command []string) (err error) {
	found, err := c.load(ctx, id)
	if err != nil {
		return err
	}
	spec, err := found.Spec(ctx)
	if err != nil {
		return fmt.Errorf("reading the specification of container %s: %w", id, err)
	}
	task, err := found.Task(ctx, nil)
	if err != nil {
		return fmt.Errorf("reading the task of container %s: %w", id, err)
	}
	process := *spec.Process
	process.Terminal, process.Args, process.CommandLine = false, command, ""
	run, err := task.Exec(ctx, "hayloft-hook-"+rand.Text(), &process, cio.NullIO)
	if err != nil {
		return fmt.Errorf("preparing %s: %w", command[0], err)
	}
	after := context.WithoutCancel(ctx)
	defer func() { err = errors.Join(err, remove(after, run)) }()
	exited, err := run.Wait(after)
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", command[0], err)
	}
	if err := run.Start(ctx); err != nil {
		return fmt.Errorf("starting %s: %w", command[0], err)
	}
	select {
	case status := <-exited:
		if err := status.Error(); err != nil {
			return fmt.Errorf("waiting for %s: %w", command[0], err)
		}
		if code := status.ExitCode(); code != 0 {
			return fmt.Errorf("%s ended with exit code %d", command[0], code)
		}
		return nil
	case <-ctx.Done():
	}
	err = fmt.Errorf("%s was killed: %w", command[0], context.Cause(ctx))
	// Not with all of the container's processes, as containerd's own helper would.
	kctx, cancel := context.WithTimeout(after, endTime)
	defer cancel()
	if killed := run.Kill(kctx, syscall.SIGKILL); killed != nil {
		return errors.Join(err, fmt.Errorf("killing it: %w", killed))
	}
	select {
	case <-exited:
	case <-kctx.Done():
	}
	return err
}

// remove forgets a command that has ended, or was never started.
func remove(ctx context.Context, run containerd.Process) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if _, err := run.Delete(ctx); err != nil {
		return fmt.Errorf("removing an ended command: %w", err)
	}
	return nil
}
