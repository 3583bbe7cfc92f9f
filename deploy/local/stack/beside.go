package stack

import (
	"context"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Beside is a cluster that exists, with kubelets and with Longhorn's and KubeVirt's definitions. Hayloft is installed
// into it by whoever uses it.
type Beside struct {
	Kubeconfig string // of the admin
	Address    string // an IP address of this machine, by which the cluster's pods and its API server reach servers here
	Nodes      []Node // the cluster's, each with an IP address of this machine for its engines and replicas
}

// startBeside starts S3 and the stand-ins for a cluster that exists.
func (u *up) startBeside(ctx context.Context, group *errgroup.Group) (err error) {
	if u.config, err = clientcmd.BuildConfigFromFlags("", u.Beside.Kubeconfig); err != nil {
		return err
	}
	u.config.QPS = -1
	c, err := client.New(u.config, client.Options{})
	if err != nil {
		return err
	}
	if err := apply(ctx, c, longhornObjects()...); err != nil {
		return err
	}
	if err := u.steps.do("S3 server", func() error { return u.startS3(ctx, u.Beside.Address) }); err != nil {
		return err
	}
	if err := u.startStandIns(ctx, group, Env{Nodes: u.Beside.Nodes, Address: u.Beside.Address}); err != nil {
		return err
	}
	if u.about.Control, err = serveControl(ctx, u.base, u.data); err != nil {
		return err
	}
	u.about.Kubeconfig, u.about.Logs, u.about.Nodes = u.Beside.Kubeconfig, u.layout.logs(), u.Beside.Nodes
	if err := u.about.write(u.layout.description()); err != nil {
		return err
	}
	u.steps.say("ready beside the cluster")
	return nil
}
