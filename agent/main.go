// Command agent runs on every node. It takes leased ownership of Longhorn
// volumes and steers their engines over gRPC to do the NodeJobs of its node.
//
// It needs no privilege, no host path and no cgo: it speaks to the Kubernetes
// API, to engines and to replicas, and where containers are paused, to the pauser
// beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/agent/quiesce"
	"hayloft.dev/agent/session"
	"hayloft.dev/agent/settings"
	"hayloft.dev/agent/worker"
	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/kubeconfig"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/reload"
	shared "hayloft.dev/pkg/settings"
	"hayloft.dev/pkg/version"
)

// closeTime bounds giving back what is kept for jobs that have not come.
const closeTime = 5 * time.Second

type options struct {
	kubeconfig, node, namespace, longhornNamespace string
	metricsAddress, healthAddress, config          string
	pauserSocket                                   string
	leaseDuration                                  time.Duration
	concurrency                                    int
	limits                                         worker.Limits
	level                                          slog.Level
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctrl.SetupSignalHandler(), o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{limits: worker.DefaultLimits()}
	fs := flag.NewFlagSet("agent", flag.ContinueOnError)
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "path of a kubeconfig; empty inside a cluster")
	fs.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "name of the node that this agent stands for")
	fs.StringVar(&o.namespace, "namespace", "hayloft-system", "namespace of NodeJobs, Leases and target Secrets")
	fs.StringVar(&o.longhornNamespace, "longhorn-namespace", "longhorn-system", "namespace of Longhorn's objects")
	fs.StringVar(&o.config, "config", "", "path of a YAML file with settings that are taken up while the agent runs, in place of flags; empty: none")
	fs.StringVar(&o.pauserSocket, "pauser-socket", "", "path of the socket of this node's pauser, which pauses VMs without a guest agent; empty: nothing is paused")
	fs.StringVar(&o.metricsAddress, "metrics-address", ":9490", "address that serves /metrics; 0 for none")
	fs.StringVar(&o.healthAddress, "health-address", "0", "address that serves /healthz and /readyz; 0 for none")
	fs.DurationVar(&o.leaseDuration, "lease-duration", 15*time.Second, "silence after which others may take this agent's volumes")
	fs.IntVar(&o.concurrency, "max-jobs", 64, "jobs at once, waiting ones included; the coordinator assigns fewer")
	fs.DurationVar(&o.limits.Stall, "stall-limit", o.limits.Stall, "a transfer without progress for this long has failed")
	fs.DurationVar(&o.limits.Start, "start-limit", o.limits.Start, "an engine that has not started a transfer for this long has failed to")
	fs.DurationVar(&o.limits.Lost, "lost-limit", o.limits.Lost, "a transfer whose engine has not answered for this long is lost")
	fs.TextVar(&o.level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	asked := version.Flag(fs)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if err := asked(); err != nil {
		return o, err
	}
	if o.node == "" {
		return o, errors.New("--node is empty: give the node's name, or set NODE_NAME from the pod's spec.nodeName")
	}
	return o, shared.Flags(fs)
}

func run(ctx context.Context, o options) error {
	level := &slog.LevelVar{}
	level.Set(o.level)
	handler := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	log := slog.New(handler).With("node", o.node)
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetLogger(logr.FromSlogHandler(log.Handler())) // client-go's
	log.Info("agent starts", "version", version.Version)

	config, credentials, err := kubeconfig.Find(o.kubeconfig, "hayloft-agent", log)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, longhorn.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("registering API types: %w", err)
		}
	}
	live, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Metrics:                metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress: o.healthAddress,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.NodeJob{}: {
					Namespaces: map[string]cache.Config{o.namespace: {}},
					Field:      fields.OneTermEqualSelector("spec.nodeName", o.node),
				},
			},
		},
	})
	if err != nil {
		return fmt.Errorf("making the manager: %w", err)
	}
	if err := mgr.Add(credentials); err != nil {
		return fmt.Errorf("adding the credentials: %w", err)
	}

	kubevirt, err := quiesce.New(config)
	if err != nil {
		return err
	}
	attacher := &attach.Attacher{Client: live, Namespace: o.longhornNamespace, Node: o.node, Log: log}
	guests := &quiesce.Guests{KubeVirt: kubevirt, Volumes: attacher}
	if o.pauserSocket != "" {
		guests.Pauser = &quiesce.Pauser{Socket: o.pauserSocket, Node: o.node}
	}
	counts := metrics.NewAgent(ctrlmetrics.Registry)
	keeper := session.NewKeeper(live, lease.Options{Namespace: o.namespace, Node: o.node, Duration: o.leaseDuration, Log: log}, counts, log)
	w := &worker.Worker{
		Jobs:     mgr.GetCache(),
		Client:   live,
		Attacher: attacher,
		Guests:   guests,
		Targets:  &worker.Targets{Client: live, Namespace: o.namespace},
		Open:     func(a engine.Address) worker.Engine { return engine.Open(a) },
		Sessions: keeper,
		Observer: counts,
		Node:     o.node,
		Limits:   o.limits,
		Log:      log,
	}
	if err := w.SetupWithManager(mgr, o.concurrency); err != nil {
		return fmt.Errorf("setting up the worker: %w", err)
	}
	if err := o.follow(mgr, level, w.Tune, log); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("adding the liveness check: %w", err)
	}
	if err := mgr.AddReadyzCheck("session", func(*http.Request) error { return keeper.Ready() }); err != nil {
		return fmt.Errorf("adding the readiness check: %w", err)
	}

	// The session outlives the manager, so that jobs which stop with it can
	// still give their leases back.
	sctx, closeSession := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		keeper.Run(sctx)
	}()
	err = mgr.Start(ctx)
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	if cerr := w.Close(cctx); cerr != nil {
		log.Warn("closing the worker", "error", cerr)
	}
	if cerr := attacher.Close(cctx); cerr != nil {
		log.Warn("could not remove every attachment ticket; the coordinator's sweeper will", "error", cerr)
	}
	cancel()
	closeSession()
	<-kept
	if err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

// runner runs something for as long as the program does.
type runner interface {
	Add(manager.Runnable) error
}

// follow puts the configuration file's settings in force, and those that it gets
// later.
func (o options) follow(mgr runner, level *slog.LevelVar, tune func(worker.Limits), log *slog.Logger) error {
	if o.config == "" {
		return nil
	}
	base := settings.Settings{LogLevel: o.level, Limits: o.limits}
	apply := func(s settings.Settings) {
		level.Set(s.LogLevel)
		tune(s.Limits)
		log.Debug("settings are in force", "level", s.LogLevel, "limits", s.Limits)
	}
	value, err := reload.Open(reload.Options[settings.Settings]{
		Files: []string{o.config}, Changed: apply, Log: log,
		Parse: func(contents [][]byte) (settings.Settings, error) { return settings.Parse(contents[0], base) },
	})
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	apply(value.Get())
	if err := mgr.Add(value); err != nil {
		return fmt.Errorf("adding the configuration file: %w", err)
	}
	return nil
}
