// Package cluster brings a real Kubernetes cluster up and down on one machine: the control plane and two nodes, each in
// a network of its own, the nodes with the real kubelet, containerd and runc. It installs nothing into the cluster, and
// knows neither Longhorn nor Hayloft.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"hayloft.dev/deploy/cluster/cgroups"
	"hayloft.dev/deploy/cluster/machine"
	"hayloft.dev/deploy/local/lock"
	"hayloft.dev/deploy/local/proc"
)

const (
	readyTimeout = 5 * time.Minute        // nodes are ready after some 15 s
	poll         = 100 * time.Millisecond // how often is looked at what is waited for
	stopTimeout  = 30 * time.Second       // then processes are killed
)

// Options of Up.
type Options struct {
	Dir         string   // the cluster's folder; what an earlier cluster left in it is removed
	Bin         string   // has local/kube and cluster/kube-node
	Holder      []string // command that calls machine.Hold with its last two arguments
	Images      []string // archives that every node imports, PauseImage in one of them
	Definitions []string // files or folders of CustomResourceDefinitions
	Out         io.Writer
}

// up is a cluster that is being brought up.
type up struct {
	Options
	layout   layout
	started  time.Time
	programs *proc.Table
	machines *proc.Table
	control  *machine.Machine
	saying   sync.Mutex
}

func (u *up) kube() string     { return filepath.Join(u.Bin, "local", "kube") }
func (u *up) kubeNode() string { return filepath.Join(u.Bin, "cluster", "kube-node") }

// Up brings a cluster up, writes its cluster.json, and keeps it until ctx ends or one of its programs does. Then it ends
// all that ran in it and removes what was made for it; logs stay.
func Up(ctx context.Context, o Options) (err error) {
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("a cluster makes networks, mounts and cgroups: run it as root")
	}
	u := &up{Options: o, layout: layout{dir: o.Dir}, started: time.Now()}
	if err := u.layout.check(); err != nil {
		return err
	}
	taken, err := lock.Take(u.layout.lock())
	if errors.Is(err, lock.ErrTaken) {
		return fmt.Errorf("a cluster is running in %s: end it with `hayloft-cluster down --dir %s`", o.Dir, o.Dir)
	}
	if err != nil {
		return err
	}
	defer taken.Close()
	if err := errors.Join(cgroups.Remove(ctx, u.layout.cgroup()), u.layout.clear()); err != nil {
		return err
	}
	u.programs, u.machines = proc.NewTable(u.layout.logs()), proc.NewTable(u.layout.logs())
	err = u.hold(ctx)
	if ctx.Err() != nil {
		err = nil // it was asked to end
	}
	return errors.Join(err, remove(u.layout))
}

// Down ends the cluster of a folder, or removes what one that was killed left. It says whether there was one.
func Down(ctx context.Context, dir string) (bool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	l := layout{dir: dir}
	ended, err := lock.End(ctx, l.lock())
	if err != nil {
		return ended, fmt.Errorf("ending the cluster in %s: %w", dir, err)
	}
	if _, err := os.Stat(l.machines()); !ended && errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return true, remove(l)
}

// remove removes what a cluster made outside its machines.
func remove(l layout) error {
	return errors.Join(cgroups.Remove(context.Background(), l.cgroup()), l.clearAllButLogs())
}

// hold runs the cluster until ctx ends or something fails.
func (u *up) hold(ctx context.Context) error {
	defer u.stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := u.start(ctx, group); err != nil {
			return err
		}
		<-ctx.Done()
		u.say("ending everything")
		return nil
	})
	return group.Wait()
}

// stop ends programs first: machines end with all that is in them, whatever it was doing.
func (u *up) stop() {
	for _, table := range []*proc.Table{u.programs, u.machines} {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		table.StopAll(ctx)
		cancel()
	}
}

func (u *up) start(ctx context.Context, group *errgroup.Group) error {
	if err := u.startControl(ctx, group); err != nil {
		return fmt.Errorf("starting the control plane: %w", err)
	}
	u.say("control plane")
	about := Description{
		Kubeconfig: u.layout.kubeconfig(), Inner: u.layout.inner(), Logs: u.layout.logs(),
		Control: MachineInfo{Name: u.control.Name, IP: controlIP, PID: u.control.PID()},
	}
	plans := nodes()
	about.Nodes = make([]MachineInfo, len(plans))
	var starting errgroup.Group
	for i, plan := range plans {
		starting.Go(func() error {
			m, err := u.startNode(ctx, group, plan)
			if err != nil {
				return fmt.Errorf("starting %s: %w", plan.name, err)
			}
			about.Nodes[i] = MachineInfo{Name: plan.name, IP: plan.ip, PID: m.PID()}
			u.say("%s: containerd with images, kubelet", plan.name)
			return nil
		})
	}
	if err := starting.Wait(); err != nil {
		return err
	}
	if err := u.waitReady(ctx); err != nil {
		return err
	}
	if err := about.write(u.layout.description()); err != nil {
		return err
	}
	u.say("ready\n\n  export KUBECONFIG=%s\n  logs   %s\n  end    ctrl-c, or hayloft-cluster down --dir %s\n", u.layout.kubeconfig(), u.layout.logs(), u.layout.dir)
	return nil
}

// run starts a program that the cluster does not work without: when it ends, the cluster does.
func (u *up) run(ctx context.Context, group *errgroup.Group, s proc.Spec) (*proc.Process, error) {
	p, err := u.programs.Start(s)
	if err != nil {
		return nil, err
	}
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-p.Done():
			return fmt.Errorf("%s %s ended, see its log in %s: %w", s.Kind, s.Name, u.layout.logs(), errors.Join(p.Err()))
		}
	})
	return p, nil
}

// waitReady waits until all nodes are ready and pods can be made.
func (u *up) waitReady(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", u.layout.kubeconfig())
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		missing := notReady(ctx, client)
		if missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the nodes: %w", missing)
		case <-time.After(poll):
		}
	}
}

// notReady says what is missing.
func notReady(ctx context.Context, client kubernetes.Interface) error {
	for _, plan := range nodes() {
		node, err := client.CoreV1().Nodes().Get(ctx, plan.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ready := false
		for _, c := range node.Status.Conditions {
			ready = ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}
		if !ready {
			return fmt.Errorf("%s is not ready", plan.name)
		}
	}
	_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	return err
}

func (u *up) say(format string, args ...any) {
	u.saying.Lock()
	defer u.saying.Unlock()
	fmt.Fprintf(u.Out, "%6.1f s  %s\n", time.Since(u.started).Seconds(), fmt.Sprintf(format, args...))
}

// waitFile waits for a file that a process writes when it is ready.
func waitFile(ctx context.Context, path string, p *proc.Process) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended: %w", errors.Join(errors.New("before it was ready"), p.Err()))
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-time.After(poll):
		}
	}
}
