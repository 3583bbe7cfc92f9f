// Package containers finds, pauses and resumes containers of this node's
// containerd, with nerdctl's client and container lookup.
//
// Of nerdctl it takes what finds and reaches containers. Its pause and unpause
// are a look at the task's state and one call, and live in a package that brings
// a CNI, docker's command line and a test module that is published nowhere; they
// are done here on the same task.
package containers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/containerd/nerdctl/v2/pkg/clientutil"
	"github.com/containerd/nerdctl/v2/pkg/idutil/containerwalker"
	"github.com/containerd/nerdctl/v2/pkg/labels/k8slabels"

	"hayloft.dev/agent/pauser/hold"
	"hayloft.dev/agent/pauser/wire"
)

const (
	// podUID is a label that kubelets set and nerdctl has no name for.
	podUID = "io.kubernetes.pod.uid"
	// kindContainer is what ContainerType says of all that is not a sandbox.
	kindContainer = "container"
	// record is the label that stands on a container from before it is paused
	// until it was let go. Its value is for people.
	record = "hayloft.dev/paused-at"
)

// For pauseTime the runtime is asked again, each time after pauseGap: runc on a freezer
// of cgroup v1 gives up on a container that does much I/O, or whose processes get no
// processor, and succeeds a moment later.
const (
	pauseTime = 5 * time.Second
	pauseGap  = 50 * time.Millisecond
)

// Containerd is the containerd of this node.
type Containerd struct {
	client *containerd.Client
	close  context.CancelFunc
}

// Open connects to containerd's socket; namespace is that of the kubelet's
// containers, k8s.io. A containerd that is away later is connected to again.
func Open(ctx context.Context, socket, namespace string) (*Containerd, error) {
	client, _, cancel, err := clientutil.NewClient(ctx, namespace, socket, containerd.WithDefaultNamespace(namespace), containerd.WithTimeout(time.Second))
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd: %w", err)
	}
	return &Containerd{client: client, close: cancel}, nil
}

// Close ends the connection.
func (c *Containerd) Close() error {
	c.close()
	return c.client.Close()
}

// Find returns the ids of a pod's containers that run, told by the labels that
// the kubelet has given them: those of that name, or all but the sandbox. None
// is an error, and one that is paused already too: it is somebody else's.
func (c *Containerd) Find(ctx context.Context, pod wire.Pod, name string) ([]string, error) {
	what := nameOf(pod)
	var more [][2]string
	if name != "" {
		more = append(more, [2]string{k8slabels.ContainerName, name})
		what = fmt.Sprintf("container %s of %s", name, what)
	}
	all, err := c.ofPod(ctx, pod, kindContainer, more...)
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", what, err)
	}
	var ids []string
	for _, found := range all {
		// Containers that have ended stay until the kubelet collects them.
		state, _, err := state(ctx, found)
		switch {
		case err != nil:
			return nil, err
		case state == containerd.Running:
			ids = append(ids, found.ID())
		case state == containerd.Paused || state == containerd.Pausing:
			return nil, fmt.Errorf("container %s, of %s, %w", found.ID(), what, hold.ErrPaused)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s does not run on this node", what)
	}
	return ids, nil
}

// ofPod are a pod's containers of a kind, told by the labels that the kubelet has
// given them, and by more labels.
func (c *Containerd) ofPod(ctx context.Context, pod wire.Pod, kind string, more ...[2]string) ([]containerd.Container, error) {
	var filters []string
	for _, w := range append(more, [2]string{k8slabels.ContainerType, kind}, [2]string{k8slabels.PodNamespace, pod.Namespace}, [2]string{podUID, pod.UID}) {
		filters = append(filters, fmt.Sprintf("labels.%q==%q", w[0], w[1]))
	}
	return c.client.Containers(ctx, strings.Join(filters, ","))
}

func nameOf(pod wire.Pod) string {
	return fmt.Sprintf("pod %s of namespace %s", pod.UID, pod.Namespace)
}

// Pause pauses a container that runs.
func (c *Containerd) Pause(ctx context.Context, id string) error {
	found, err := c.load(ctx, id)
	if err != nil {
		return err
	}
	was, task, err := state(ctx, found)
	if err != nil {
		return err
	}
	if was != containerd.Running {
		return fmt.Errorf("container %s is %s", id, was)
	}
	if err := c.mark(ctx, found, time.Now().UTC().Format(time.RFC3339Nano)); err != nil {
		return errors.Join(err, c.mark(context.WithoutCancel(ctx), found, ""))
	}
	for end := time.Now().Add(pauseTime); ; {
		if err = c.freeze(ctx, task); err == nil || errors.Is(err, hold.ErrUncertain) {
			break
		}
		// It was answered: what is paused now is somebody else's. A runtime that
		// could not freeze a busy container has let it go again.
		now, _, lookErr := state(ctx, found)
		if lookErr != nil || now != containerd.Running || time.Now().After(end) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(pauseGap):
		}
		if ctx.Err() != nil {
			break // it runs: nothing more is begun
		}
	}
	if err != nil {
		err = fmt.Errorf("pausing container %s: %w", id, err)
		if !errors.Is(err, hold.ErrUncertain) {
			err = errors.Join(err, c.mark(context.WithoutCancel(ctx), found, ""))
		}
	}
	return err
}

// freeze pauses a task. The call goes on to the runtime even when nobody waits any
// more. It must not be given a deadline: the shim would kill the runtime in the
// middle, and a container may then be frozen of which containerd says that it
// runs.
func (c *Containerd) freeze(ctx context.Context, task containerd.Task) error {
	paused := make(chan error, 1)
	go func() { paused <- task.Pause(context.WithoutCancel(ctx)) }()
	select {
	case err := <-paused:
		if errdefs.IsUnavailable(err) || errdefs.IsCanceled(err) || errdefs.IsDeadlineExceeded(err) {
			return fmt.Errorf("%w: %w", hold.ErrUncertain, err)
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", hold.ErrUncertain, context.Cause(ctx))
	}
}

// Resume lets a container go that has a record of ours, and takes the record
// away. One without is left as it is.
func (c *Containerd) Resume(ctx context.Context, id string) (held bool, err error) {
	found, err := c.load(ctx, id)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	labels, err := found.Labels(ctx)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the labels of container %s: %w", id, err)
	}
	if labels[record] == "" {
		return false, nil
	}
	state, task, err := state(ctx, found)
	if err != nil {
		return false, err
	}
	switch state {
	case "", containerd.Running, containerd.Stopped, containerd.Created:
	case containerd.Paused:
		// Without a deadline, for the reason that freeze has.
		resumed := make(chan error, 1)
		go func() { resumed <- task.Resume(context.WithoutCancel(ctx)) }()
		select {
		case err = <-resumed:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return false, fmt.Errorf("resuming container %s: %w", id, err)
		}
		held = true
	default:
		return false, fmt.Errorf("container %s is %s", id, state)
	}
	if err := c.mark(ctx, found, ""); err != nil && !errdefs.IsNotFound(err) {
		return held, err
	}
	return held, nil
}

// Left are the containers with a record.
func (c *Containerd) Left(ctx context.Context) ([]string, error) {
	all, err := c.client.Containers(ctx, fmt.Sprintf("labels.%q", record))
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	ids := make([]string, 0, len(all))
	for _, found := range all {
		ids = append(ids, found.ID())
	}
	return ids, nil
}

// load finds the one container of an id.
func (c *Containerd) load(ctx context.Context, id string) (containerd.Container, error) {
	var found containerd.Container
	walker := containerwalker.ContainerWalker{Client: c.client, OnFound: func(_ context.Context, f containerwalker.Found) error {
		// The walker takes the beginning of an id, and nerdctl's names too.
		if f.Container.ID() == id {
			found = f.Container
		}
		return nil
	}}
	if _, err := walker.Walk(ctx, id); err != nil {
		return nil, fmt.Errorf("looking for container %s: %w", id, err)
	}
	if found == nil {
		return nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	return found, nil
}

// mark writes the record, or takes it away.
func (c *Containerd) mark(ctx context.Context, found containerd.Container, value string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := found.SetLabels(ctx, map[string]string{record: value}); err != nil {
		return fmt.Errorf("writing label %s of container %s: %w", record, found.ID(), err)
	}
	return nil
}

// state is what a container's task does; "" when it has none.
func state(ctx context.Context, found containerd.Container) (containerd.ProcessStatus, containerd.Task, error) {
	task, err := found.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading the task of container %s: %w", found.ID(), err)
	}
	status, err := task.Status(ctx)
	if errdefs.IsNotFound(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading the state of container %s: %w", found.ID(), err)
	}
	return status.Status, task, nil
}
