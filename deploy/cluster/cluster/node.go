package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"hayloft.dev/deploy/cluster/cgroups"
	"hayloft.dev/deploy/cluster/machine"
	"hayloft.dev/deploy/local/proc"
)

const (
	containerdTimeout = time.Minute            // it answers in 1 s
	containerdPoll    = 100 * time.Millisecond // how often it is asked
	importTimeout     = 5 * time.Minute        // of an archive of images
)

// startNode starts a node's machine, containerd with the images, and the kubelet, which registers the node.
func (u *up) startNode(ctx context.Context, group *errgroup.Group, plan nodePlan) (*machine.Machine, error) {
	dir := u.layout.machine(plan.name)
	m, err := machine.Start(ctx, u.machines, u.Holder, plan.name, dir)
	if err != nil {
		return nil, err
	}
	if err := connectNode(ctx, u.control, m, plan); err != nil {
		return nil, err
	}
	cgroup := u.layout.cgroup() + "/" + plan.name
	if err := cgroups.Make(cgroup); err != nil {
		return nil, err
	}
	config := nodeConfig{dir: filepath.Join(dir, "etc")}
	if err := config.write(plan, u.layout.authority(), cgroup); err != nil {
		return nil, err
	}
	containerd, err := u.run(ctx, group, m.Spec(proc.Spec{Kind: "containerd", Name: plan.name, Path: "containerd", Args: []string{
		"--config", config.containerd(),
	}}))
	if err != nil {
		return nil, err
	}
	if err := waitContainerd(ctx, m, containerd); err != nil {
		return nil, err
	}
	if err := u.importImages(ctx, m); err != nil {
		return nil, err
	}
	server := fmt.Sprintf("https://%s:%d", controlIP, apiPort)
	if err := u.clientConfig(ctx, "system:node:"+plan.name, "system:nodes", server, config.kubeconfig()); err != nil {
		return nil, err
	}
	_, err = u.run(ctx, group, m.Spec(proc.Spec{Kind: "kubelet", Name: plan.name, Path: u.kubeNode(), Args: []string{
		"kubelet", "--config=" + config.kubelet(), "--kubeconfig=" + config.kubeconfig(),
		"--hostname-override=" + plan.name, "--node-ip=" + plan.ip,
	}}))
	return m, err
}

func (u *up) importImages(ctx context.Context, m *machine.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, importTimeout)
	defer cancel()
	for _, archive := range u.Images {
		if err := m.Run(ctx, "ctr", "--namespace", "k8s.io", "images", "import", archive); err != nil {
			return fmt.Errorf("importing images: %w", err)
		}
	}
	return nil
}

func waitContainerd(ctx context.Context, m *machine.Machine, p *proc.Process) error {
	ctx, cancel := context.WithTimeout(ctx, containerdTimeout)
	defer cancel()
	for {
		err := m.Run(ctx, "ctr", "version")
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("containerd of %s, see its log: %w", m.Name, errors.Join(errors.New("it ended at once"), p.Err()))
		case <-ctx.Done():
			return fmt.Errorf("containerd of %s does not answer: %w", m.Name, err)
		case <-time.After(containerdPoll):
		}
	}
}
