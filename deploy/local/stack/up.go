package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/proc"
	"hayloft.dev/deploy/local/s3"
)

const (
	kubeTimeout = 2 * time.Minute       // the API server with all definitions takes 4 s
	kubePoll    = 50 * time.Millisecond // how often its kubeconfig is looked for
	stopTimeout = 20 * time.Second      // for each of the groups of processes; then they are killed
)

// Env is what a stand-in gets to work with.
type Env struct {
	Config            *rest.Config
	Procs             *proc.Table
	Log               *slog.Logger // to a file of its own in the folder of logs
	Dir               string       // the stack's folder
	NodesDir          string       // in it, for what the nodes' disks hold
	Nodes             []Node
	LonghornNamespace string
	Address           string // of this machine, by which the cluster reaches servers; "" is loopback
	RealTiming        bool   // take as long for things as what the stand-in stands for
}

// StandIn takes the place of something that cannot run here.
type StandIn struct {
	Name string
	// Run works until ctx ends. It calls ready once, when others can rely on it.
	Run func(ctx context.Context, env Env, ready func()) error
}

// Options of Up.
type Options struct {
	Dir            string // the stack's folder; what an earlier stack left in it is removed
	Bin            string // agent, coordinator and targetio are here, and local/ with the programs of others
	Manifests      string // has crds/, rbac/, policies/ and webhook/
	LogLevel       string // of Hayloft's programs
	WithoutHayloft bool
	RealTiming     bool // the stand-ins take their time
	// WithWebhook installs the admission webhook's configuration and takes requests for it; without coordinators that
	// serve it Hayloft's own kinds cannot be made then.
	WithWebhook bool
	StandIns    []StandIn
	Beside      *Beside   // a cluster that exists: only S3 and the stand-ins are started
	AuditLog    string    // what Hayloft's accounts ask of the API server, an audit.k8s.io/v1 Event a line; "" is none
	Out         io.Writer // for people
}

// up is a stack that is being brought up. The tables are in the order in which they are ended.
type up struct {
	Options
	layout  layout
	steps   *steps
	hayloft *proc.Table
	data    *proc.Table // what the stand-ins start
	base    *proc.Table // kube, S3
	config  *rest.Config
	about   Description
}

// Up brings a stack up, writes its stack.json, and keeps it until ctx ends or a part that everything depends on fails.
// Then it ends every process that it started, in the order in which they depend on one another.
func Up(ctx context.Context, o Options) (err error) {
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	u := &up{Options: o, layout: layout{dir: o.Dir}, steps: &steps{out: o.Out, started: time.Now()}}
	lock, err := lockDir(u.layout)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := u.layout.clear(); err != nil {
		return err
	}
	logs := u.layout.logs()
	u.hayloft, u.data, u.base = proc.NewTable(logs), proc.NewTable(logs), proc.NewTable(logs)

	err = u.run(ctx)
	if ctx.Err() != nil {
		err = nil // it was asked to end
	}
	return errors.Join(err, u.layout.clearAllButLogs())
}

// run holds the order of things: the parts that run as goroutines are one group, which ends when any of them fails.
func (u *up) run(ctx context.Context) error {
	defer u.end(u.base)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := u.start(ctx, group)
		if err != nil {
			return err
		}
		<-ctx.Done()
		u.steps.say("ending everything")
		return nil
	})
	// First Hayloft's own programs, then the stand-ins, which would otherwise put back what ends.
	err := func() error {
		defer u.end(u.data)
		<-ctx.Done()
		u.end(u.hayloft)
		return group.Wait()
	}()
	return err
}

func (u *up) end(table *proc.Table) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	table.StopAll(ctx)
}

// start brings everything up, in the order in which things need one another, and writes stack.json at the end.
func (u *up) start(ctx context.Context, group *errgroup.Group) error {
	if u.Beside != nil {
		return u.startBeside(ctx, group)
	}
	if err := u.steps.do("API server v1.34.4 with etcd and all definitions", func() error { return u.startKube(ctx, group) }); err != nil {
		return err
	}
	c, err := client.New(u.config, client.Options{})
	if err != nil {
		return err
	}
	if err := u.steps.do("namespaces, nodes, storage class, accounts", func() error { return u.prepare(ctx, c) }); err != nil {
		return err
	}
	if err := u.steps.do("S3 server and its BackupTarget", func() error {
		if err := u.startS3(ctx, loopback); err != nil {
			return err
		}
		u.about.Target = targetName
		return apply(ctx, c, targetObjects(&u.about.S3)...)
	}); err != nil {
		return err
	}
	if err := u.startStandIns(ctx, group, Env{Nodes: Nodes()}); err != nil {
		return err
	}
	if u.WithWebhook {
		if err := u.steps.do("admission webhook", func() error { return u.startWebhook(ctx, c) }); err != nil {
			return err
		}
	}
	if !u.WithoutHayloft {
		if err := u.startAPI(ctx, c); err != nil {
			return err
		}
		if err := u.steps.do("agents and coordinators", func() error { return u.startHayloft(ctx, group) }); err != nil {
			return err
		}
	}
	u.about.Control, err = serveControl(ctx, u.base, u.data, u.hayloft)
	if err != nil {
		return err
	}
	u.about.Kubeconfig, u.about.Logs, u.about.Nodes = u.layout.kubeconfig(), u.layout.logs(), Nodes()
	if err := u.about.write(u.layout.description()); err != nil {
		return err
	}
	u.steps.say("ready\n\n  export KUBECONFIG=%s\n  logs   %s\n  S3     %s, bucket %s (keys in stack.json)\n%s  end    ctrl-c, or hayloft-local down --dir %s\n",
		u.layout.kubeconfig(), u.layout.logs(), u.about.S3.Endpoint, u.about.S3.Bucket, u.about.API.howToCall(), u.layout.dir)
	return nil
}

func (u *up) startKube(ctx context.Context, group *errgroup.Group) error {
	kube := filepath.Join(u.Bin, "local", "kube")
	audit, err := u.auditFlags()
	if err != nil {
		return err
	}
	server, err := u.base.Start(proc.Spec{Kind: "kube", Name: "apiserver", Path: kube, Args: append([]string{
		"apiserver", "--dir", u.layout.kube(), "--kubeconfig", u.layout.kubeconfig(),
		"--crds", filepath.Join(u.Bin, "local", "crds"), "--crds", filepath.Join(u.Manifests, "crds"),
	}, audit...)})
	if err != nil {
		return err
	}
	u.watch(ctx, group, server)
	if err := waitFile(ctx, u.layout.kubeconfig(), server); err != nil {
		return err
	}
	if u.config, err = clientcmd.BuildConfigFromFlags("", u.layout.kubeconfig()); err != nil {
		return err
	}
	u.config.QPS = -1
	controllers, err := u.base.Start(proc.Spec{Kind: "kube", Name: "controller-manager", Path: kube, Args: []string{
		"controller-manager", "--dir", u.layout.kube(),
	}})
	if err != nil {
		return err
	}
	u.watch(ctx, group, controllers)
	return nil
}

// watch ends the stack when a process ends that nothing works without.
func (u *up) watch(ctx context.Context, group *errgroup.Group, p *proc.Process) {
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-p.Done():
			info := p.Info()
			return fmt.Errorf("%s %s ended, see its log in %s: %w", info.Kind, info.Name, u.layout.logs(), errors.Join(p.Err()))
		}
	})
}

func (u *up) prepare(ctx context.Context, c client.Client) (err error) {
	if err := apply(ctx, c, clusterObjects(Nodes())...); err != nil {
		return err
	}
	for _, folder := range []string{"rbac", "policies"} {
		if err := applyFolder(ctx, c, filepath.Join(u.Manifests, folder)); err != nil {
			return err
		}
	}
	if u.about.Kubeconfigs, err = writeAccounts(ctx, u.config, Nodes(), u.layout); err != nil {
		return err
	}
	return waitDefaultAccount(ctx, c, "default")
}

func (u *up) startS3(ctx context.Context, ip string) error {
	server, err := s3.Start(ctx, u.base, filepath.Join(u.Bin, "local", "versitygw"), u.layout.s3(), ip)
	if err != nil {
		return err
	}
	u.about.S3 = *server
	return nil
}

func (u *up) startStandIns(ctx context.Context, group *errgroup.Group, env Env) error {
	for _, s := range u.StandIns {
		if err := u.steps.do(s.Name, func() error { return u.startStandIn(ctx, group, s, env) }); err != nil {
			return err
		}
	}
	return nil
}

// startStandIn returns when the stand-in is ready; it then goes on in the group. env has what differs between stacks.
func (u *up) startStandIn(ctx context.Context, group *errgroup.Group, s StandIn, env Env) error {
	if err := os.MkdirAll(u.layout.nodes(), 0o755); err != nil {
		return err
	}
	output, err := os.Create(filepath.Join(u.layout.logs(), "standin-"+s.Name+".log"))
	if err != nil {
		return err
	}
	env.Config, env.Procs, env.LonghornNamespace = rest.CopyConfig(u.config), u.data, LonghornNamespace
	env.Log, env.Dir, env.NodesDir = slog.New(slog.NewTextHandler(output, nil)), u.layout.dir, u.layout.nodes()
	env.RealTiming = u.RealTiming
	ready := make(chan struct{})
	ended := make(chan error, 1)
	group.Go(func() error {
		defer output.Close()
		err := s.Run(ctx, env, func() { close(ready) })
		if err == nil && ctx.Err() == nil {
			err = errors.New("it ended by itself")
		}
		if err != nil {
			err = fmt.Errorf("stand-in %s: %w", s.Name, err)
		}
		ended <- err
		return err
	})
	select {
	case <-ready:
		return nil
	case err := <-ended:
		return err
	}
}

func (u *up) startHayloft(ctx context.Context, group *errgroup.Group) error {
	agents, leaders, err := hayloftPrograms(u.Bin, Nodes(), u.about.Kubeconfigs, u.about.Webhook, u.about.API.Service, u.LogLevel)
	if err != nil {
		return err
	}
	for _, p := range append(agents, leaders...) {
		group.Go(func() error {
			keepRunning(ctx, u.hayloft, p, u.steps.say)
			return nil
		})
	}
	for _, a := range agents {
		u.about.Agents = append(u.about.Agents, a.url)
	}
	for _, l := range leaders {
		u.about.Coordinators = append(u.about.Coordinators, l.url)
	}
	if err := waitAnswers(ctx, agents, "/metrics"); err != nil {
		return err
	}
	if err := waitAnswers(ctx, leaders, "/readyz"); err != nil {
		return err
	}
	return u.writeAPI(ctx)
}

// waitFile waits for a file that a process writes when it is ready.
func waitFile(ctx context.Context, path string, p *proc.Process) error {
	ctx, cancel := context.WithTimeout(ctx, kubeTimeout)
	defer cancel()
	tick := time.NewTicker(kubePoll)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended: %w", errors.Join(errors.New("before it was ready"), p.Err()))
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
