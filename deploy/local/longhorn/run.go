package longhorn

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"hayloft.dev/deploy/local/longhorn/admission"
	"hayloft.dev/deploy/local/longhorn/csi"
	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/proc"
)

// DefaultNamespace is where Longhorn's objects are.
const DefaultNamespace = "longhorn-system"

// defaultDiskBytes is what each node's disk is said to hold. Nothing is reserved: replicas are sparse files.
const defaultDiskBytes = 1 << 40

// Node is a node with a disk. Its replicas and engines listen on its address.
type Node struct {
	Name, IP string
}

// Processes starts the engines' and replicas' processes.
type Processes interface {
	Start(proc.Spec) (*proc.Process, error)
}

// Options say what to run on. Config, Procs, EngineBinary, Dir and Nodes are needed.
type Options struct {
	Config       *rest.Config // of an API server that has Longhorn's definitions; an administrator's
	Procs        *proc.Table
	EngineBinary string
	Dir          string // has a folder for each node
	Nodes        []Node
	Namespace    string       // "" is DefaultNamespace
	DiskBytes    int64        // of each node's disk; 0 is 1 TiB
	RealTiming   bool         // attach and detach as slowly as the real one
	OnReady      func()       // called once, when volumes are being taken care of
	Log          *slog.Logger // nil is the default one
}

func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.DiskBytes == 0 {
		o.DiskBytes = defaultDiskBytes
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Run runs the stand-in until ctx ends, which is no error. At its end the processes are gone and the folders are left.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if len(o.Nodes) == 0 {
		return fmt.Errorf("running Longhorn: there are no nodes")
	}
	if err := run(ctx, o); err != nil && ctx.Err() == nil {
		return fmt.Errorf("running Longhorn: %w", err)
	}
	return nil
}

func run(ctx context.Context, o Options) error {
	mgr, c, err := o.manager(&lh.Volume{}, &lh.VolumeAttachment{}, &lh.BackingImage{}, &lh.Snapshot{})
	if err != nil {
		return err
	}
	if err := makeFixedObjects(ctx, c, o); err != nil {
		return err
	}
	webhooks, err := admission.Listen(c, o.Namespace, admission.Defaults{
		Image: engineImage, NumberOfReplicas: defaultReplicas, SnapshotMaxCount: defaultSnapshotMaxCount,
	}, logr.FromSlogHandler(o.Log.Handler()))
	if err != nil {
		return err
	}

	volumes := newVolumes(c, o)
	defer volumes.end()
	if err := volumes.setup(mgr); err != nil {
		return err
	}
	images := &backingImages{client: c, namespace: o.Namespace, dir: o.Dir, nodes: o.Nodes}
	if err := images.setup(mgr); err != nil {
		return err
	}
	if err := csi.Setup(mgr, c, csi.Options{Namespace: o.Namespace}); err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return webhooks.Run(ctx) })
	if err := webhooks.Register(ctx); err != nil {
		return err
	}
	o.start(ctx, group, mgr)
	return group.Wait()
}

// manager makes a manager that watches kinds in Longhorn's namespace, and a client that reads from the server: decisions
// that start and stop processes are not made on what a cache still shows.
func (o Options) manager(kinds ...client.Object) (ctrl.Manager, client.Client, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, lh.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, nil, err
		}
	}
	cfg := rest.CopyConfig(o.Config)
	cfg.QPS = -1 // the server is ours alone
	cfg.UserAgent = "longhorn-standin"
	cfg.WarningHandler = rest.NoWarnings{} // about Longhorn's finalizer, which has no domain, at every volume
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, nil, err
	}
	own := map[client.Object]cache.ByObject{}
	for _, kind := range kinds {
		own[kind] = cache.ByObject{Namespaces: map[string]cache.Config{o.Namespace: {}}}
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     scheme,
		Logger:     logr.FromSlogHandler(o.Log.Handler()),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)}, // more than one may run in a test's process
		Cache:      cache.Options{ByObject: own},
	})
	return mgr, c, err
}

// start starts the manager in a group, and says when it works.
func (o Options) start(ctx context.Context, group *errgroup.Group, mgr ctrl.Manager) {
	group.Go(func() error { return mgr.Start(ctx) })
	group.Go(func() error {
		if mgr.GetCache().WaitForCacheSync(ctx) && o.OnReady != nil {
			o.OnReady()
		}
		return nil
	})
}

// starter starts processes of the engine's binary in the stack's table.
func starter(p Processes, binary string) instance.Starter {
	return func(c instance.Command) (instance.Process, error) {
		process, err := p.Start(proc.Spec{Kind: c.Kind, Name: c.Name, Path: binary, Args: c.Args, Labels: c.Labels})
		if err != nil {
			return nil, err // not a nil *Process in an interface that is not nil
		}
		return process, nil
	}
}
