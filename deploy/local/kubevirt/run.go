package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	virt "kubevirt.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"hayloft.dev/deploy/local/kubevirt/subresource"
	"hayloft.dev/deploy/local/proc"
)

// Options say what to run on. Config, Procs, Self, Dir and Nodes are needed.
type Options struct {
	Config            *rest.Config // of an API server with KubeVirt's and Longhorn's definitions; an administrator's
	Procs             *proc.Table
	Self              string   // the program whose subcommand `guest` is the guest
	Dir               string   // the stack's folder: control sockets are in its folder guests
	Nodes             []string // names of the nodes that VMs may run on
	LonghornNamespace string   // "" is longhorn-system
	Address           string   // of this machine, where the API server finds the subresources' server; "" is loopback
	OnReady           func()   // called once, when VMs are being taken care of
	Log               *slog.Logger
}

// parallel is how many objects of a kind are worked on at the same time. Stopping a guest may take a while.
const parallel = 4

// Run runs the stand-in until ctx ends, which is no error. At its end no guest is left; the instances still say Running
// and their tickets are still there, as after a power cut. When it starts again it calls them Failed.
func Run(ctx context.Context, o Options) error {
	if o.LonghornNamespace == "" {
		o.LonghornNamespace = "longhorn-system"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if len(o.Nodes) == 0 {
		return errors.New("running KubeVirt: there are no nodes")
	}
	if err := run(ctx, o); err != nil && ctx.Err() == nil {
		return fmt.Errorf("running KubeVirt: %w", err)
	}
	return nil
}

func run(ctx context.Context, o Options) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, longhorn.AddToScheme, virt.AddToScheme, apiregistrationv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	cfg := rest.CopyConfig(o.Config)
	cfg.QPS = -1 // the server is this stack's alone
	cfg.UserAgent = "kubevirt-standin"
	// Reads go to the server: a guest is not started on what a cache still shows.
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     scheme,
		Logger:     logr.FromSlogHandler(o.Log.Handler()),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true), MaxConcurrentReconciles: parallel},
	})
	if err != nil {
		return err
	}
	guests := newGuests(c, o)
	defer guests.stopAll()
	populating := newPopulator(ctx, c, o)
	defer populating.wait()

	if err := (&vms{client: c, claims: claims{client: c, populator: populating}, log: o.Log}).setup(mgr); err != nil {
		return err
	}
	attaching, nodes := tickets{client: c, namespace: o.LonghornNamespace}, &nodes{names: o.Nodes}
	if err := (&instances{client: c, guests: guests, tickets: attaching, nodes: nodes, log: o.Log}).setup(mgr); err != nil {
		return err
	}
	if err := (&migrations{client: c, guests: guests, tickets: attaching, nodes: nodes, log: o.Log}).setup(mgr); err != nil {
		return err
	}
	api, err := subresource.Listen(ctx, c, launcher{client: c, guests: guests}, o.Address, o.Log)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return mgr.Start(ctx) })
	group.Go(func() error { return api.Run(ctx) })
	group.Go(func() error {
		if err := api.Register(ctx); err != nil {
			return err
		}
		if mgr.GetCache().WaitForCacheSync(ctx) && o.OnReady != nil {
			o.OnReady()
		}
		return nil
	})
	return group.Wait()
}
