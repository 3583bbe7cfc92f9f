package longhorn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/longhorn"
	"hayloft.dev/deploy/local/proc"
)

const (
	namespace = longhorn.DefaultNamespace
	patience  = 60 * time.Second // for what takes well under one on an idle machine
	mib       = 1 << 20
)

// stack is the stand-in on a real API server with the real volume controllers, shared by all tests of this package.
type stack struct {
	client.Client
	dir     string
	procs   *proc.Table
	options longhorn.Options
	stop    func() error // ends the stand-in alone
}

var (
	shared   *stack
	endStack func()
	startErr error
	once     sync.Once
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // what the client libraries say; the stand-in has its own
	code := m.Run()
	if endStack != nil {
		endStack()
	}
	os.Exit(code)
}

func theStack(t *testing.T) *stack {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an API server and engines")
	}
	once.Do(func() { shared, endStack, startErr = startStack() })
	require.NoError(t, startErr)
	return shared
}

func startStack() (*stack, func(), error) {
	bin, err := filepath.Abs("../../../bin/local")
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "longhorn-standin-")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	table := proc.NewTable(filepath.Join(dir, "logs"))
	var running sync.WaitGroup
	end := func() {
		cancel()
		running.Wait()
		table.StopAll(context.Background())
		_ = os.RemoveAll(dir)
	}
	s, err := startOn(ctx, bin, dir, table, &running)
	if err != nil {
		end()
		return nil, nil, err
	}
	return s, func() {
		if err := s.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		end()
	}, nil
}

func startOn(ctx context.Context, bin, dir string, table *proc.Table, running *sync.WaitGroup) (*stack, error) {
	kube := filepath.Join(bin, "kube")
	kubeconfig := filepath.Join(dir, "kubeconfig")
	server := exec.CommandContext(ctx, kube, "apiserver", "--dir", filepath.Join(dir, "kube"), "--kubeconfig", kubeconfig,
		"--crds", filepath.Join(bin, "crds"), "--with-parent")
	if err := start(server, filepath.Join(dir, "apiserver.log"), running); err != nil {
		return nil, err
	}
	if err := poll(ctx, func() bool { _, err := os.Stat(kubeconfig); return err == nil }); err != nil {
		return nil, fmt.Errorf("waiting for the API server: %w", err)
	}
	controllers := exec.CommandContext(ctx, kube, "controller-manager", "--dir", filepath.Join(dir, "kube"), "--with-parent")
	if err := start(controllers, filepath.Join(dir, "controllers.log"), running); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := lh.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	log := io.Discard
	if os.Getenv("STANDIN_LOG") != "" {
		log = os.Stderr
	}
	standIn := &stack{Client: c, dir: filepath.Join(dir, "longhorn"), procs: table}
	standIn.options = longhorn.Options{
		Config: config, Procs: table, EngineBinary: filepath.Join(bin, "longhorn"), Dir: standIn.dir,
		Nodes: []longhorn.Node{{Name: "node-1", IP: "127.0.0.51"}, {Name: "node-2", IP: "127.0.0.52"}, {Name: "node-3", IP: "127.0.0.53"}},
		Log:   slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return standIn, standIn.run()
}

// run starts the stand-in and waits until it is ready.
func (s *stack) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	options := s.options
	ready := make(chan struct{})
	options.OnReady = func() { close(ready) }
	ended := make(chan error, 1)
	go func() { ended <- longhorn.Run(ctx, options) }()
	s.stop = func() error {
		cancel()
		return <-ended
	}
	select {
	case <-ready:
		return nil
	case err := <-ended:
		cancel()
		return fmt.Errorf("the stand-in ended: %w", err)
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("the stand-in is not ready after %s", patience), s.stop())
	}
}

// start starts a program that ends when its standard input does, which is when this process ends.
func start(cmd *exec.Cmd, log string, running *sync.WaitGroup) error {
	output, err := os.Create(log)
	if err != nil {
		return err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	running.Go(func() { _ = cmd.Wait() })
	return nil
}

func poll(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// name is a volume's name that no other test and no other run uses: front ends' sockets are shared by the machine.
func name(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("lh-%d-%d", os.Getpid(), time.Now().UnixNano())
}

// volume makes a volume, waits until it is detached and deletes it at the end of the test.
func (s *stack) volume(t *testing.T, change func(*lh.Volume)) *lh.Volume {
	t.Helper()
	vol := &lh.Volume{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(t)},
		Spec:       lh.VolumeSpec{Size: 64 * mib, NumberOfReplicas: 2, Frontend: lh.VolumeFrontendBlockDev},
	}
	if change != nil {
		change(vol)
	}
	require.NoError(t, s.Create(t.Context(), vol))
	t.Cleanup(func() { s.deleteVolume(t, vol.Name) })
	return s.waitVolume(t, vol.Name, "detached", func(v *lh.Volume) bool { return v.Status.State == lh.VolumeStateDetached })
}

func (s *stack) deleteVolume(t *testing.T, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	vol := &lh.Volume{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	require.NoError(t, client.IgnoreNotFound(s.Delete(ctx, vol)))
	require.NoError(t, poll(ctx, func() bool { return apierrors.IsNotFound(s.Get(ctx, key(name), vol)) }), "volume %s is not gone", name)
}

func key(name string) client.ObjectKey { return client.ObjectKey{Namespace: namespace, Name: name} }

func (s *stack) waitVolume(t *testing.T, name, what string, done func(*lh.Volume) bool) *lh.Volume {
	t.Helper()
	vol := &lh.Volume{}
	err := poll(t.Context(), func() bool { return s.Get(t.Context(), key(name), vol) == nil && done(vol) })
	require.NoError(t, err, "volume %s is not %s: %+v", name, what, vol.Status)
	return vol
}

// ticket adds one; mode is the parameter disableFrontend, "-" for none.
func (s *stack) ticket(t *testing.T, vol, id, node string, kind lh.AttacherType, mode string) {
	t.Helper()
	require.NoError(t, s.tryTicket(t, vol, id, node, kind, mode))
}

func (s *stack) tryTicket(t *testing.T, vol, id, node string, kind lh.AttacherType, mode string) error {
	t.Helper()
	va := &lh.VolumeAttachment{}
	require.NoError(t, s.Get(t.Context(), key(vol), va))
	before := va.DeepCopy()
	parameters := map[string]string{}
	if mode != "-" {
		parameters[lh.AttachmentParameterDisableFrontend] = mode
	}
	if va.Spec.AttachmentTickets == nil {
		va.Spec.AttachmentTickets = map[string]*lh.AttachmentTicket{}
	}
	va.Spec.AttachmentTickets[id] = &lh.AttachmentTicket{ID: id, NodeID: node, Type: kind, Parameters: parameters}
	return s.Patch(t.Context(), va, client.MergeFrom(before))
}

func (s *stack) dropTicket(t *testing.T, vol, id string) {
	t.Helper()
	va := &lh.VolumeAttachment{}
	require.NoError(t, s.Get(t.Context(), key(vol), va))
	before := va.DeepCopy()
	delete(va.Spec.AttachmentTickets, id)
	require.NoError(t, s.Patch(t.Context(), va, client.MergeFrom(before)))
}

// waitTicket waits until a ticket's status is about the ticket as it is and done says so.
func (s *stack) waitTicket(t *testing.T, vol, id, what string, done func(*lh.AttachmentTicketStatus) bool) {
	t.Helper()
	va := &lh.VolumeAttachment{}
	err := poll(t.Context(), func() bool {
		if s.Get(t.Context(), key(vol), va) != nil {
			return false
		}
		ticket, status := va.Spec.AttachmentTickets[id], va.Status.AttachmentTicketStatuses[id]
		return ticket != nil && status != nil && ticket.Generation == status.Generation && done(status)
	})
	require.NoError(t, err, "ticket %s is not %s: %+v", id, what, va.Status.AttachmentTicketStatuses[id])
}

func (s *stack) waitSatisfied(t *testing.T, vol, id string) {
	t.Helper()
	s.waitTicket(t, vol, id, "satisfied", func(st *lh.AttachmentTicketStatus) bool { return st.Satisfied })
}

func (s *stack) waitDetached(t *testing.T, vol string) {
	t.Helper()
	s.waitVolume(t, vol, "detached", func(v *lh.Volume) bool { return v.Status.State == lh.VolumeStateDetached })
}

func (s *stack) engine(t *testing.T, vol string) *lh.Engine {
	t.Helper()
	e := &lh.Engine{}
	require.NoError(t, s.Get(t.Context(), key(vol+"-e-0"), e))
	return e
}

func (s *stack) replicas(t *testing.T, vol string) []lh.Replica {
	t.Helper()
	var list lh.ReplicaList
	require.NoError(t, s.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{"longhornvolume": vol}))
	return list.Items
}

// pid of a process of the stack, 0 when it does not run.
func (s *stack) pid(kind, name string) int {
	for _, p := range s.procs.List() {
		if p.Kind == kind && p.Name == name {
			return p.PID
		}
	}
	return 0
}

// processes are those of a volume.
func (s *stack) processes(vol string) []proc.Info {
	var out []proc.Info
	for _, p := range s.procs.List() {
		if p.Labels["volume"] == vol {
			out = append(out, p)
		}
	}
	return out
}
