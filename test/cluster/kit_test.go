// Package cluster tests Hayloft on a real Kubernetes cluster of two nodes (deploy/cluster): images and chart as a user
// gets them, real kubelets, containerd and runc. `make e2e` builds what is needed and runs it, as root; what the API
// server, engines and targets alone can show is tested in test/e2e, which is faster.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/test/harness"
)

const (
	upTimeout  = 5 * time.Minute // it takes half a minute on two idle cores
	endTimeout = 2 * time.Minute // it takes some seconds
	patience   = 3 * time.Minute // for what a kubelet or a controller does in some seconds
	poll       = 200 * time.Millisecond
	commandFor = 5 * time.Minute // the longest that helm or hayloft may take
	long       = 3 * time.Second // what takes longer is said, for whoever wants all of it to take less

	imageTag = "e2e" // of the images that make e2e makes
)

// cluster is a running one.
type cluster struct {
	Dir        string
	Kubeconfig string
	Inner      string // kubeconfig for programs in the control plane's network
	Control    machine
	Nodes      []machine

	isKept         bool // it goes on running after the test
	isLonghornReal bool

	config  *rest.Config
	kube    kubernetes.Interface
	c       client.Client
	program *exec.Cmd
	gone    chan struct{} // closed when the program has ended
	storage storage
}

type machine struct {
	Name, IP string
	PID      int
}

func bin(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(harness.Root(t), "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: `make e2e` builds it", name)
	}
	return path
}

// newCluster starts a cluster, with flags of `hayloft-cluster up`. It is gone at the end of the test unless it is to be kept.
func newCluster(t *testing.T, flags ...string) *cluster {
	t.Helper()
	k := emptyCluster(t)
	k.program = exec.Command(bin(t, "cluster/hayloft-cluster"), append([]string{"up", "--dir", k.Dir}, flags...)...)
	k.gone = k.begin(t, "output", k.program)
	await(t, upTimeout, "a cluster", func() error { return k.takeUp(t, k.gone, "output", "cluster.json", k) })
	k.connect(t)
	return k
}

// emptyCluster has a folder only. It stays where a test fails, for the logs.
func emptyCluster(t *testing.T) *cluster {
	t.Helper()
	if dir := os.Getenv(keepVar); dir != "" {
		require.NoError(t, os.MkdirAll(dir, 0o700))
		return &cluster{Dir: dir, isKept: true}
	}
	dir, err := os.MkdirTemp("", "hayloft-cluster-")
	require.NoError(t, err)
	started.add(t, func() {
		if t.Failed() && !started.isInterrupted.Load() {
			t.Logf("the cluster's logs are kept in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &cluster{Dir: dir}
}

// begin starts a program that knows --with-parent and has it end with the test, unless the cluster is kept. What it says is
// in a file of the cluster's folder. gone is closed when it has ended.
func (k *cluster) begin(t *testing.T, output string, program *exec.Cmd) (gone chan struct{}) {
	t.Helper()
	log, err := os.Create(filepath.Join(k.Dir, output))
	require.NoError(t, err)
	defer log.Close() // the child has its own
	program.Stdout, program.Stderr = log, log
	gone = make(chan struct{})
	if k.isKept {
		program.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ctrl-c is for the test
	} else {
		program.Args = append(program.Args, "--with-parent")
		input, err := program.StdinPipe()
		require.NoError(t, err)
		started.add(t, func() { endProgram(t, program, input, gone) })
	}
	require.NoError(t, program.Start())
	go func() {
		_ = program.Wait()
		close(gone)
	}()
	return gone
}

// takeUp reads what a program writes into a file of the cluster's folder when it is ready. A program that is gone ends the
// test.
func (k *cluster) takeUp(t *testing.T, gone chan struct{}, output, file string, into any) error {
	t.Helper()
	select {
	case <-gone:
		out, _ := os.ReadFile(filepath.Join(k.Dir, output))
		t.Fatalf("the program ended: %s", out)
	default:
	}
	data, err := os.ReadFile(filepath.Join(k.Dir, file))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// connect makes the clients.
func (k *cluster) connect(t *testing.T) {
	t.Helper()
	var err error
	k.config, err = clientcmd.BuildConfigFromFlags("", k.Kubeconfig)
	require.NoError(t, err)
	k.config.QPS, k.config.WarningHandler = -1, rest.NoWarnings{}
	k.kube, err = kubernetes.NewForConfig(k.config)
	require.NoError(t, err)
	k.c, err = client.New(k.config, client.Options{Scheme: scheme()})
	require.NoError(t, err)
}

// endProgram ends a program that lives as long as its input, and waits for it.
func endProgram(t *testing.T, program *exec.Cmd, input io.Closer, gone <-chan struct{}) {
	_ = input.Close()
	select {
	case <-gone:
	case <-time.After(endTimeout):
		t.Errorf("%s does not end", filepath.Base(program.Path))
		_ = program.Process.Kill()
	}
}

// await asks until there is no error any more.
func await(t testing.TB, timeout time.Duration, what string, ask func() error) {
	t.Helper()
	begin := time.Now()
	for end := begin.Add(timeout); ; time.Sleep(poll) {
		err := ask()
		if err == nil {
			sayLong(t, begin, what)
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// sayLong says what took long.
func sayLong(t testing.TB, begin time.Time, what string) {
	t.Helper()
	if took := time.Since(begin); took > long {
		t.Logf("%s: %.1f s, until %s", what, took.Seconds(), time.Now().Format(time.TimeOnly))
	}
}

// beside is a subtest that runs beside its neighbours. Most of each is waiting.
func beside(do func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		do(t)
	}
}

// together does something with each of them at once, and goes on if all of it went well.
func together(t *testing.T, names []string, do func(t *testing.T, name string)) {
	t.Helper()
	if !t.Run("together", func(t *testing.T) {
		for _, name := range names {
			t.Run(name, beside(func(t *testing.T) { do(t, name) }))
		}
	}) {
		t.FailNow()
	}
}

// run runs a program as a user would, with the admin's kubeconfig, and returns what it said.
func (k *cluster) run(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := k.try(t, program, args...)
	require.NoError(t, err, out)
	return out
}

func (k *cluster) try(t testing.TB, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandFor)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin(t, program), args...)
	// Helm keeps a cache and a list of repositories in the user's folders.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.Kubeconfig, "HOME="+k.Dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	defer sayLong(t, time.Now(), filepath.Base(program)+" "+strings.Join(args, " "))
	err := cmd.Run()
	return out.String(), err
}

// logs are those of a pod, read from its kubelet.
func (k *cluster) logs(ctx context.Context, namespace, pod string) (string, error) {
	stream, err := k.kube.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{}).Stream(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the log of pod %s: %w", pod, err)
	}
	defer stream.Close()
	data, err := io.ReadAll(stream)
	return strings.TrimSpace(string(data)), err
}
