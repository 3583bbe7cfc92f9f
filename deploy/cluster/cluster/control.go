package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"

	"hayloft.dev/deploy/cluster/machine"
	"hayloft.dev/deploy/local/proc"
)

// startControl starts the control plane and gives the admin a way in.
func (u *up) startControl(ctx context.Context, group *errgroup.Group) (err error) {
	if u.control, err = machine.Start(ctx, u.machines, u.Holder, "control", u.layout.machine("control")); err != nil {
		return err
	}
	if err := connectControl(ctx, u.control); err != nil {
		return err
	}
	keys := filepath.Join(u.layout.kube(), "pki")
	args := []string{
		"apiserver", "--dir", u.layout.kube(), "--kubeconfig", u.layout.inner(),
		"--address", "0.0.0.0", "--port", fmt.Sprint(apiPort), "--certificate-ips", controlIP + "," + kubernetesIP,
	}
	for _, path := range u.Definitions {
		args = append(args, "--crds", path)
	}
	// From here on kube-apiserver's own flags; authorizers are added to RBAC. Webhooks and aggregated servers are called
	// at their pods' addresses.
	args = append(args, "--",
		"--advertise-address="+controlIP, "--service-cluster-ip-range="+serviceRange, "--enable-aggregator-routing=true",
		"--authorization-mode=Node", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--kubelet-client-certificate="+filepath.Join(keys, "admin.crt"), "--kubelet-client-key="+filepath.Join(keys, "admin.key"),
		"--kubelet-preferred-address-types=InternalIP")
	server, err := u.run(ctx, group, u.control.NetworkSpec(proc.Spec{Kind: "kube", Name: "apiserver", Path: u.kube(), Args: args, Env: webhookPatience}))
	if err != nil {
		return err
	}
	if err := waitFile(ctx, u.layout.inner(), server); err != nil {
		return err
	}
	if _, err := u.run(ctx, group, u.control.NetworkSpec(proc.Spec{Kind: "kube", Name: "controller-manager", Path: u.kube(), Args: []string{
		"controller-manager", "--dir", u.layout.kube(), "--", "--controllers=*", "--node-monitor-grace-period=" + nodeGrace,
	}})); err != nil {
		return err
	}
	scheduler := filepath.Join(u.layout.kube(), "scheduler.kubeconfig")
	if err := u.clientConfig(ctx, "system:kube-scheduler", "", "https://127.0.0.1", scheduler); err != nil {
		return err
	}
	if _, err := u.run(ctx, group, u.control.NetworkSpec(proc.Spec{Kind: "kube", Name: "scheduler", Path: u.kubeNode(), Args: []string{
		"scheduler", "--kubeconfig=" + scheduler, "--leader-elect=false", "--secure-port=0",
	}})); err != nil {
		return err
	}
	return u.openToLoopback(ctx)
}

// clientConfig writes a kubeconfig with a certificate of its own.
func (u *up) clientConfig(ctx context.Context, user, group, server, path string) error {
	cmd := exec.CommandContext(ctx, u.kube(), "client", "--dir", u.layout.kube(),
		"--user", user, "--group", group, "--server", server, "--kubeconfig", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making the kubeconfig of %s: %w: %s", user, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// openToLoopback lets programs outside the cluster's networks reach the API server.
func (u *up) openToLoopback(ctx context.Context) error {
	address, err := forward(ctx, u.control, fmt.Sprintf("%s:%d", controlIP, apiPort))
	if err != nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(u.layout.inner())
	if err != nil {
		return fmt.Errorf("reading the admin's kubeconfig: %w", err)
	}
	for _, c := range config.Clusters {
		c.Server = "https://" + address
	}
	draft := u.layout.kubeconfig() + ".new"
	if err := clientcmd.WriteToFile(*config, draft); err != nil {
		return fmt.Errorf("writing the admin's kubeconfig: %w", err)
	}
	return os.Rename(draft, u.layout.kubeconfig())
}
