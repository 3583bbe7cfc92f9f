// Command coordinator turns VMBackups and VMRestores into jobs for the agents.
// Two or more run; one leads. It serves /metrics, /healthz and /readyz, the
// admission webhook and the HTTP API.
//
// It reads and writes no backup target by itself: that is the part of the
// program targetio, which it runs as a child for each operation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"hayloft.dev/coordinator/control"
	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/refresh"
	"hayloft.dev/coordinator/runs"
	"hayloft.dev/coordinator/settings"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/metrics"
	"hayloft.dev/pkg/kubeconfig"
	"hayloft.dev/pkg/reload"
	shared "hayloft.dev/pkg/settings"
	"hayloft.dev/pkg/version"
)

type flags struct {
	kubeconfig, targetio, targetioKubeconfig string
	targetMounts                             string
	shares                                   shareFlags
	listen, config                           string
	webhook                                  webhookFlags
	api                                      apiFlags
	level                                    slog.Level
	election                                 control.Election
	control                                  control.Options
	plan                                     plan.Config
}

func main() {
	f, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctrl.SetupSignalHandler(), f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "coordinator:", err)
		os.Exit(1)
	}
}

func parse(args []string) (flags, error) {
	f := flags{plan: plan.DefaultConfig(), control: control.Options{Runs: runs.DefaultConfig()}}
	host, err := os.Hostname()
	if err != nil {
		host = "coordinator"
	}
	fs := flag.NewFlagSet("coordinator", flag.ContinueOnError)
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "path of a kubeconfig; empty inside a cluster")
	fs.StringVar(&f.control.Namespace, "namespace", "hayloft-system", "namespace of NodeJobs, Leases and target Secrets")
	fs.StringVar(&f.control.LonghornNamespace, "longhorn-namespace", "longhorn-system", "namespace of Longhorn's objects")
	fs.StringVar(&f.config, "config", "", "path of a YAML file with settings that are taken up while the coordinator runs, in place of flags; empty: none")
	fs.StringVar(&f.listen, "listen", ":9480", "address that serves /metrics, /healthz and /readyz over plain HTTP")
	fs.StringVar(&f.targetio, "targetio", "/usr/local/bin/targetio", "path of the target worker program")
	fs.StringVar(&f.targetioKubeconfig, "targetio-kubeconfig", "", "path of the target worker's own kubeconfig; empty inside a cluster")
	fs.StringVar(&f.targetMounts, "target-mounts", "", "folder in which NFS and CIFS targets are mounted for the target worker, each under its target's name; empty: none is")
	f.shares.bind(fs)
	fs.StringVar(&f.webhook.listen, "webhook-listen", "", "address that serves the admission webhook over HTTPS; empty: not served")
	fs.StringVar(&f.webhook.names, "webhook-names", "", "comma-separated DNS names and addresses that the API server calls the webhook by (default hayloft-webhook.NAMESPACE.svc)")
	fs.StringVar(&f.webhook.certDir, "webhook-cert-dir", "", "folder with the webhook's tls.crt and tls.key, which somebody else renews, and who tells the API server whom to trust; empty: the coordinators make their own")
	f.api.bind(fs)
	fs.TextVar(&f.level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	fs.StringVar(&f.election.Identity, "identity", fmt.Sprintf("%s-%d", host, os.Getpid()), "name of this process among the coordinators")
	fs.DurationVar(&f.election.Duration, "leader-lease-duration", 15*time.Second, "silence after which another coordinator leads")
	fs.DurationVar(&f.election.Renew, "leader-lease-renew", 10*time.Second, "time within which the leader must renew or step down")
	fs.DurationVar(&f.election.Retry, "leader-lease-retry", 2*time.Second, "time between two tries to lead or renew")
	fs.DurationVar(&f.control.SessionDuration, "lease-duration", 15*time.Second, "silence after which an agent's session has ended; as given to the agents")
	fs.IntVar(&f.control.MaxJobsPerNode, "max-jobs-per-node", 8, "jobs assigned to one node at once")
	fs.DurationVar(&f.control.ClaimTimeout, "claim-timeout", 20*time.Second, "time that an agent has to claim a job before another gets it")
	fs.DurationVar(&f.control.SweepEvery, "sweep-every", 30*time.Second, "time between two looks for what killed processes left behind")
	fs.DurationVar(&f.control.SweepGrace, "sweep-grace", 30*time.Second, "time that something must be seen left behind before it is removed")
	fs.DurationVar(&f.plan.TransferDeadline, "transfer-deadline", f.plan.TransferDeadline, "time that the backup or restore of one disk may take")
	fs.DurationVar(&f.plan.PointDeadline, "point-deadline", f.plan.PointDeadline, "time that a whole backup or restore may take")
	fs.DurationVar(&f.plan.CutWindow, "cut-window", f.plan.CutWindow, "longest time between the first and the last snapshot of a point")
	fs.DurationVar(&f.plan.RetryAfter, "retry-after", f.plan.RetryAfter, "pause before the second attempt at a disk; each further one is four times longer")
	fs.DurationVar(&f.plan.WorkPatience, "target-patience", f.plan.WorkPatience, "time that failing work on a target is tried again before a backup or restore fails of it")
	fs.DurationVar(&f.plan.DeletePatience, "delete-patience", f.plan.DeletePatience, "time that a target or agents may hold up the deletion of a point that never was whole, or whose namespace is deleted")
	fs.DurationVar(&f.plan.LossGrace, "loss-grace", f.plan.LossGrace, "time that a Snapshot point's data, or its VM, must be seen missing before that counts")
	fs.DurationVar(&f.control.Runs.CatchUpSpread, "catch-up-spread", f.control.Runs.CatchUpSpread, "time over which runs of schedules are spread that were missed together; a tenth of a schedule's interval where that is less")
	f.control.Refresh = refresh.DefaultBounds()
	fs.DurationVar(&f.control.Refresh.Default, "refresh-default", f.control.Refresh.Default, "time between two looks through a target whose spec names none")
	fs.DurationVar(&f.control.Refresh.Floor, "refresh-floor", f.control.Refresh.Floor, "shortest time between two looks through a target, whatever its spec or a user asks for")
	fs.DurationVar(&f.control.Refresh.Deadline, "refresh-deadline", f.control.Refresh.Deadline, "time that a look through a target may take")
	fs.DurationVar(&f.control.LeftoverAge, "leftover-age", 24*time.Hour, "how old something on a target must be to be removed as a leftover")
	fs.DurationVar(&f.control.LeftoversEvery, "leftovers-every", 24*time.Hour, "time between two looks by which leftovers on a target are counted, within what refreshing may cost; 0: only when somebody asks")
	fs.IntVar(&f.control.MaxDocuments, "refresh-max-documents", 50_000, "documents that a target may hold; of one with more nothing is found, and nothing goes")
	fs.BoolVar(&f.control.HealIntervals, "heal-refresh-intervals", false, "set refresh intervals of Harvester's backup-target setting and of Longhorn's BackupTargets that are 0, absent or below 60s to 60s")
	asked := version.Flag(fs)
	if err := fs.Parse(args); err != nil {
		return f, err
	}
	if err := asked(); err != nil {
		return f, err
	}
	if b := f.control.Refresh; b.Floor < time.Second || b.Default < b.Floor || b.Deadline < time.Second {
		return f, errors.New("--refresh-floor and --refresh-deadline must be 1s or more, and --refresh-default not shorter than the floor")
	}
	if err := shared.Flags(fs); err != nil {
		return f, err
	}
	if f.election.Renew >= f.election.Duration || f.election.Retry >= f.election.Renew {
		return f, errors.New("--leader-lease-duration must be longer than --leader-lease-renew, and that longer than --leader-lease-retry")
	}
	if _, err := os.Stat(f.targetio); err != nil {
		return f, fmt.Errorf("--targetio: %w", err)
	}
	f.control.Plan = f.plan
	if f.control.SharePods, err = f.shares.pods(f.targetio, f.targetMounts); err != nil {
		return f, err
	}
	if f.webhook.listen != "" {
		if _, err := f.webhook.server(nil); err != nil {
			return f, err
		}
	}
	return f, f.api.check()
}

func run(ctx context.Context, f flags) error {
	level := &slog.LevelVar{}
	level.Set(f.level)
	handler := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	log := slog.New(handler).With("identity", f.election.Identity)
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetLogger(logr.FromSlogHandler(log.Handler())) // client-go's
	log.Info("coordinator starts", "version", version.Version)

	config, credentials, err := kubeconfig.Find(f.kubeconfig, "hayloft-coordinator", log)
	if err != nil {
		return err
	}
	if err := reach(ctx, config, log); err != nil {
		if ctx.Err() != nil {
			return nil // it was asked to end
		}
		return err
	}
	registry := prometheus.NewRegistry()
	counts := metrics.NewWork(registry)
	f.control.Log, f.control.Recorder = log, counts
	refreshes := metrics.NewRefreshes(registry)
	f.control.Refreshes, f.control.Guard = refreshes, refreshes
	f.control.Targets = &targetwork.Caller{
		Path: f.targetio, Kubeconfig: f.targetioKubeconfig, Namespace: f.control.Namespace, Mounts: f.targetMounts,
		SharePods: f.control.SharePods != nil,
		Observe:   observe(counts),
	}
	mgr, err := control.NewManager(config, f.control, f.election)
	if err != nil {
		return err
	}
	if err := mgr.Add(credentials); err != nil {
		return fmt.Errorf("adding the credentials: %w", err)
	}
	c, err := control.Setup(ctx, mgr, f.control)
	if err != nil {
		return err
	}
	if err := f.follow(mgr, level, c, log); err != nil {
		return err
	}
	served, err := f.webhook.add(ctx, mgr, c, f.control, counts)
	if err != nil {
		return err
	}
	callable, err := f.api.add(ctx, mgr, f.control, metrics.NewAPI(registry))
	if err != nil {
		return err
	}
	told := &metrics.Gatherer{
		Counted: []prometheus.Gatherer{registry, ctrlmetrics.Registry}, Leading: c.Leading, Since: c.Since,
		Objects: metrics.Collectors(c.Objects(), metrics.Limits{JobsPerNode: c.JobsPerNode}),
		Failed: func(collector string, err error) {
			log.Error("metrics are missing", "collector", collector, "error", err)
		},
	}
	prepare := func(context.Context) error { // once it leads
		told.Prepare()
		return nil
	}
	if err := mgr.Add(manager.RunnableFunc(prepare)); err != nil {
		return fmt.Errorf("preparing the metrics: %w", err)
	}
	server := &control.Server{Address: f.listen, Metrics: told.Handler(), Ready: ready(ctx, mgr, served, callable), Log: log}
	if err := mgr.Add(server); err != nil {
		return fmt.Errorf("adding the HTTP server: %w", err)
	}
	boundGarbage(ctx, mgr.GetCache().WaitForCacheSync)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

// follow puts the configuration file's settings in force, and those that it gets
// later.
func (f flags) follow(mgr ctrl.Manager, level *slog.LevelVar, c *control.Controller, log *slog.Logger) error {
	if f.config == "" {
		return nil
	}
	base := settings.Settings{LogLevel: f.level, Tuning: control.TuningOf(f.control)}
	apply := func(s settings.Settings) {
		level.Set(s.LogLevel)
		c.Tune(s.Tuning)
		log.Debug("settings are in force", "level", s.LogLevel, "tuning", s.Tuning)
	}
	value, err := reload.Open(reload.Options[settings.Settings]{
		Files: []string{f.config}, Changed: apply, Log: log,
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

// observe counts runs of the target worker.
func observe(w *metrics.Work) func(op string, wall, cpu time.Duration, err error) {
	return func(op string, wall, cpu time.Duration, err error) {
		reason := ""
		if err != nil {
			if reason = string(targetwork.ReasonOf(err)); reason == "" {
				reason = string(protocol.Internal)
			}
		}
		w.TargetRun(op, reason, wall, cpu)
	}
}

// ready: the caches are filled, so that this process could lead, and the webhook
// and the HTTP API are served.
func ready(ctx context.Context, mgr ctrl.Manager, served ...func() error) func(*http.Request) error {
	var synced atomic.Bool
	go func() {
		synced.Store(mgr.GetCache().WaitForCacheSync(ctx))
	}()
	return func(*http.Request) error {
		if !synced.Load() {
			return errors.New("the caches are not filled yet")
		}
		for _, why := range served {
			if err := why(); err != nil {
				return err
			}
		}
		return nil
	}
}
