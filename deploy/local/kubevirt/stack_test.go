package kubevirt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/guest"
	"hayloft.dev/deploy/local/kubevirt"
	"hayloft.dev/deploy/local/longhorn"
	"hayloft.dev/deploy/local/proc"
)

const (
	patience = 90 * time.Second // for what takes a few seconds on an idle machine
	interval = 50 * time.Millisecond
)

// stack is both stand-ins on a real API server with the real volume controllers, shared by all tests of this package.
type stack struct {
	client.Client
	config *rest.Config
	dir    string
	procs  *proc.Table
	log    *slog.Logger

	stopKubeVirt func() // returns when that stand-in has ended
}

// sharedStack is started by the first test that needs it.
var sharedStack = sync.OnceValues(startStack)

// cleanUps are run at the end, last one first.
var cleanUps []func()

// TestMain lets this program be the guest too: the stand-in starts it as its own subcommand.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "guest" {
		command := guest.Command()
		command.SetArgs(os.Args[2:])
		if err := command.Execute(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	for i := range cleanUps {
		cleanUps[len(cleanUps)-1-i]()
	}
	os.Exit(code)
}

func theStack(t *testing.T) *stack {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an API server and engines")
	}
	s, err := sharedStack()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func startStack() (*stack, error) {
	bin, err := filepath.Abs("../../../bin/local")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kubevirt-standin-")
	if err != nil {
		return nil, err
	}
	cleanUps = append(cleanUps, func() { _ = os.RemoveAll(dir) })
	base, data := proc.NewTable(filepath.Join(dir, "logs")), proc.NewTable(filepath.Join(dir, "logs"))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	cleanUps = append(cleanUps,
		func() { base.StopAll(context.Background()) },
		func() { data.StopAll(context.Background()) },
		func() { cancel(); running.Wait() },
	)
	config, err := startKube(ctx, base, bin, dir)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), lh.AddToScheme(scheme), virt.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "longhorn"}, Provisioner: "driver.longhorn.io",
		Parameters: map[string]string{"numberOfReplicas": "1"},
	}
	if err := c.Create(ctx, class); err != nil {
		return nil, err
	}
	var out io.Writer = io.Discard
	if os.Getenv("STANDIN_LOG") != "" {
		out = os.Stderr
	}
	s := &stack{Client: c, config: config, dir: dir, procs: data, log: slog.New(slog.NewTextHandler(out, nil))}
	ready, ended := make(chan struct{}), make(chan error, 1)
	running.Go(func() {
		ended <- longhorn.Run(ctx, longhorn.Options{
			Config: config, Procs: data, EngineBinary: filepath.Join(bin, "longhorn"), Dir: filepath.Join(dir, "longhorn"),
			Nodes:   []longhorn.Node{{Name: "node-1", IP: "127.0.0.61"}, {Name: "node-2", IP: "127.0.0.62"}},
			OnReady: func() { close(ready) }, Log: s.log,
		})
	})
	if err := waitReady(ready, ended); err != nil {
		return nil, err
	}
	if err := s.startKubeVirt(); err != nil {
		return nil, err
	}
	cleanUps = append(cleanUps, func() { s.stopKubeVirt() })
	return s, nil
}

func (s *stack) startKubeVirt() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended, gone := make(chan struct{}), make(chan error, 1), make(chan struct{})
	s.stopKubeVirt = func() { cancel(); <-gone }
	go func() {
		defer close(gone)
		ended <- kubevirt.Run(ctx, kubevirt.Options{
			Config: s.config, Procs: s.procs, Self: self, Dir: s.dir, Nodes: []string{"node-1", "node-2"},
			OnReady: func() { close(ready) }, Log: s.log,
		})
	}()
	return waitReady(ready, ended)
}

func waitReady(ready chan struct{}, ended chan error) error {
	select {
	case <-ready:
		return nil
	case err := <-ended:
		return fmt.Errorf("a stand-in ended: %w", err)
	case <-time.After(patience):
		return errors.New("a stand-in is not ready")
	}
}

func startKube(ctx context.Context, table *proc.Table, bin, dir string) (*rest.Config, error) {
	kube, kubeDir, kubeconfig := filepath.Join(bin, "kube"), filepath.Join(dir, "kube"), filepath.Join(dir, "kubeconfig")
	_, err := table.Start(proc.Spec{Kind: "kube", Name: "apiserver", Path: kube, Args: []string{
		"apiserver", "--dir", kubeDir, "--kubeconfig", kubeconfig, "--crds", filepath.Join(bin, "crds"),
	}})
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(interval) {
		if _, err := os.Stat(kubeconfig); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return nil, errors.New("the API server is not ready")
		}
	}
	_, err = table.Start(proc.Spec{Kind: "kube", Name: "controller-manager", Path: kube, Args: []string{"controller-manager", "--dir", kubeDir}})
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return config, ctx.Err()
}

// until polls a condition.
func until(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !isSo(); time.Sleep(interval) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// namespace makes one that no other test uses. VMs in it are deleted at the end of the test.
func (s *stack) namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "vms-"}}
	if err := s.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var list virt.VirtualMachineList
		ctx := context.Background()
		if err := s.List(ctx, &list, client.InNamespace(ns.Name)); err != nil {
			t.Error(err)
		}
		for _, vm := range list.Items {
			if err := s.Delete(ctx, &vm); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
		until(t, "the namespace's VMs are gone", func() bool {
			return s.List(ctx, &list, client.InNamespace(ns.Name)) == nil && len(list.Items) == 0
		})
	})
	return ns.Name
}

// read gets an object or fails the test.
func (s *stack) read(t *testing.T, namespace, name string, object client.Object) {
	t.Helper()
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
}

// change merges a JSON patch into an object.
func (s *stack) change(t *testing.T, object client.Object, patch string) {
	t.Helper()
	if err := s.Patch(t.Context(), object, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) vm(t *testing.T, namespace, name string) *virt.VirtualMachine {
	t.Helper()
	var vm virt.VirtualMachine
	s.read(t, namespace, name, &vm)
	return &vm
}

// waitStatus waits for a printable status.
func (s *stack) waitStatus(t *testing.T, namespace, name string, want virt.VirtualMachinePrintableStatus) *virt.VirtualMachine {
	t.Helper()
	var vm virt.VirtualMachine
	var seen bytes.Buffer
	defer func() {
		if t.Failed() {
			t.Logf("%s went through:%s; conditions %+v", name, seen.String(), vm.Status.Conditions)
		}
	}()
	var last virt.VirtualMachinePrintableStatus
	until(t, name+" is "+string(want), func() bool {
		if err := s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &vm); err != nil {
			t.Fatal(err)
		}
		if vm.Status.PrintableStatus != last {
			last = vm.Status.PrintableStatus
			seen.WriteString(" " + string(last))
		}
		return last == want
	})
	return &vm
}

// ask talks to a running VM's guest.
func (s *stack) ask(t *testing.T, namespace, vm string, request guest.Request) guest.Response {
	t.Helper()
	response, err := guest.Call(t.Context(), guest.ControlPath(s.dir, namespace, vm), request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// tickets are those of a claim's volume; the volume's name too.
func (s *stack) tickets(t *testing.T, namespace, claim string) (string, map[string]*lh.AttachmentTicket) {
	t.Helper()
	var pvc corev1.PersistentVolumeClaim
	s.read(t, namespace, claim, &pvc)
	var pv corev1.PersistentVolume
	s.read(t, "", pvc.Spec.VolumeName, &pv)
	volume := pv.Spec.CSI.VolumeHandle
	var va lh.VolumeAttachment
	s.read(t, longhorn.DefaultNamespace, volume, &va)
	return volume, va.Spec.AttachmentTickets
}

func (s *stack) waitNoTickets(t *testing.T, namespace, claim string) {
	t.Helper()
	until(t, "no ticket is left on "+claim, func() bool {
		_, tickets := s.tickets(t, namespace, claim)
		return len(tickets) == 0
	})
}
