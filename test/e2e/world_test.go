// Package e2e runs Hayloft's programs on the local stack: real API server, real
// engines, real S3. Each test stands for something that users were promised, or
// for a fault that must not break it.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const (
	mib = 1 << 20
	// patience bounds a wait for something that takes seconds, on a machine
	// that other tests share.
	patience = 4 * time.Minute
	// leaseDuration of agents under test: short, so that a takeover is.
	leaseDuration = 4 * time.Second
)

// world is a stack with Hayloft's programs and a namespace for one test.
type world struct {
	*harness.Stack
	t   testing.TB
	ctx context.Context
	c   client.WithWatch
	ns  string

	agents       map[string]*harness.Program // node -> agent
	coordinators []*harness.Program
}

// newStack starts the parts that stand still; Hayloft's programs come with each world.
func newStack(t testing.TB) *harness.Stack {
	t.Helper()
	return harness.NewStack(t, harness.StackOptions{})
}

// bare is a world without agents and coordinators.
func bare(t testing.TB, s *harness.Stack) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1alpha1.AddToScheme, kubevirt.AddToScheme, longhorn.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	c, err := client.NewWithWatch(s.Config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return &world{Stack: s, t: t, ctx: t.Context(), c: c, ns: harness.Namespace(t, s.Config), agents: map[string]*harness.Program{}}
}

// newWorld starts an agent per node and two coordinators on a stack.
func newWorld(t testing.TB, s *harness.Stack) *world {
	t.Helper()
	return startWorld(t, s, nil, nil)
}

// newCalmWorld is one in which no work is to be done a second time: none of its agents
// dies, and on a busy machine none is taken for dead.
func newCalmWorld(t testing.TB, s *harness.Stack) *world {
	t.Helper()
	return startWorld(t, s, unhurried[:2], unhurried)
}

// unhurried are what a coordinator is told of the agents, the first two also the
// agents themselves: none of them dies here, and on a busy machine none is to be taken for dead.
var unhurried = []string{"--lease-duration", "30s", "--claim-timeout", "30s"}

func startWorld(t testing.TB, s *harness.Stack, agents, coordinators []string) *world {
	t.Helper()
	w := bare(t, s)
	for _, n := range s.Nodes {
		w.startAgent(n.Name, harness.ProgramOptions{Args: agents})
	}
	w.startCoordinator("coordinator-1", harness.ProgramOptions{Args: coordinators})
	w.startCoordinator("coordinator-2", harness.ProgramOptions{Args: coordinators})
	return w
}

func (w *world) startAgent(node string, o harness.ProgramOptions) *harness.Program {
	w.t.Helper()
	o.Args = append([]string{"--lease-duration", leaseDuration.String()}, o.Args...)
	w.agents[node] = w.StartAgent(w.t, node, o)
	return w.agents[node]
}

func (w *world) startCoordinator(identity string, o harness.ProgramOptions) *harness.Program {
	w.t.Helper()
	o.Args = append([]string{
		"--lease-duration", leaseDuration.String(), "--claim-timeout", "5s",
		"--leader-lease-duration", "4s", "--leader-lease-renew", "3s", "--leader-lease-retry", "500ms",
	}, o.Args...)
	p := w.StartCoordinator(w.t, identity, o)
	w.coordinators = append(w.coordinators, p)
	return p
}

// local runs the stack's own tool.
func (w *world) local(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, filepath.Join(moduleRoot(w.t), "bin", "local", "hayloft-local"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(w.t, cmd.Run(), "hayloft-local %s: %s", strings.Join(args, " "), &stderr)
	return strings.TrimSpace(stdout.String())
}

// disk works on the disk of a claim that no VM uses.
func (w *world) disk(op, claim string, args ...string) string {
	w.t.Helper()
	return w.local(append([]string{"disk", op, "--kubeconfig", w.Kubeconfig, "--namespace", w.ns, "--claim", claim}, args...)...)
}

// guest talks to the guest of a running VM.
func (w *world) guest(op, vm string, args ...string) string {
	w.t.Helper()
	return w.local(append([]string{"vm", op, w.ns + "/" + vm, "--dir", w.Dir}, args...)...)
}

// sha256 of a claim's whole disk; no VM may use it.
func (w *world) sha256(claim string) string { w.t.Helper(); return w.disk("sha256", claim) }

// claim makes a claim of the storage class longhorn.
func (w *world) claim(name string, size int64) {
	w.t.Helper()
	class, block := "longhorn", corev1.PersistentVolumeBlock
	c := &corev1.PersistentVolumeClaim{}
	c.Namespace, c.Name = w.ns, name
	c.Spec.StorageClassName, c.Spec.VolumeMode = &class, &block
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}
	require.NoError(w.t, w.c.Create(w.ctx, c))
	w.eventually("claim "+name+" to be bound", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(c), c)
		return err == nil && c.Status.Phase == corev1.ClaimBound, string(c.Status.Phase)
	})
}

// filled makes a claim whose disk holds random data, but for the tail in which
// a guest writes.
func (w *world) filled(name string, size int64, seed int) {
	w.t.Helper()
	w.claim(name, size)
	w.disk("fill", name, "--seed", fmt.Sprint(seed), "--length", fmt.Sprint(size-8*mib))
}

// vmSpec is a VM with a disk per claim, named as the claim is without the VM's
// name; change may be nil.
func (w *world) vmSpec(name string, claims []string, change func(*kubevirt.VirtualMachine)) *kubevirt.VirtualMachine {
	always := kubevirt.RunStrategyAlways
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = w.ns, name
	vm.Spec.RunStrategy = &always
	vm.Spec.Template = &kubevirt.VirtualMachineInstanceTemplateSpec{}
	for _, claim := range claims {
		disk := strings.TrimPrefix(claim, name+"-")
		vm.Spec.Template.Spec.Domain.Devices.Disks = append(vm.Spec.Template.Spec.Domain.Devices.Disks, kubevirt.Disk{
			Name: disk, DiskDevice: kubevirt.DiskDevice{Disk: &kubevirt.DiskTarget{Bus: kubevirt.DiskBusVirtio}},
		})
		source := &kubevirt.PersistentVolumeClaimVolumeSource{}
		source.ClaimName = claim
		vm.Spec.Template.Spec.Volumes = append(vm.Spec.Template.Spec.Volumes, kubevirt.Volume{
			Name: disk, VolumeSource: kubevirt.VolumeSource{PersistentVolumeClaim: source},
		})
	}
	if change != nil {
		change(vm)
	}
	return vm
}

// runningVM makes a VM with disks of the given sizes, called root, data1, ...,
// filled with random data, and waits until it runs.
func (w *world) runningVM(name string, sizes ...int64) {
	w.t.Helper()
	var claims []string
	for i, size := range sizes {
		disk := "root"
		if i > 0 {
			disk = fmt.Sprintf("data%d", i)
		}
		claims = append(claims, name+"-"+disk)
		w.filled(name+"-"+disk, size, len(name)*100+i)
	}
	require.NoError(w.t, w.c.Create(w.ctx, w.vmSpec(name, claims, nil)))
	w.awaitRunning(name)
}

func (w *world) awaitRunning(name string) {
	w.t.Helper()
	w.eventually("VM "+name+" to run", func() (bool, string) {
		var vm kubevirt.VirtualMachine
		if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &vm); err != nil {
			return false, err.Error()
		}
		return vm.Status.PrintableStatus == kubevirt.VirtualMachineStatusRunning, string(vm.Status.PrintableStatus)
	})
}

// quietHashes stops the guest's own writing and hashes its disks.
func (w *world) quietHashes(vm string, disks ...string) map[string]string {
	w.t.Helper()
	w.guest("quiet", vm)
	sums := map[string]string{}
	for _, d := range disks {
		sums[d] = w.guest("hash", vm, "--disk", d)
	}
	return sums
}

// backup makes a VMBackup on the stack's target.
func (w *world) backup(name, vm string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, name
	b.Spec.VM, b.Spec.Target = vm, w.Target
	require.NoError(w.t, w.c.Create(w.ctx, b))
	return b
}

// restore makes a VMRestore to a new VM that stays halted.
func (w *world) restore(name, backup, vm string) *v1alpha1.VMRestore {
	w.t.Helper()
	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name = w.ns, name
	r.Spec.Backup, r.Spec.NewVM, r.Spec.HaltAfterRestore = backup, vm, true
	require.NoError(w.t, w.c.Create(w.ctx, r))
	return r
}

// awaitBackup waits until a point is in a phase; another final phase fails the
// test with the point's own words.
func (w *world) awaitBackup(name string, phase v1alpha1.BackupPhase) *v1alpha1.VMBackup {
	w.t.Helper()
	var b v1alpha1.VMBackup
	w.eventually(fmt.Sprintf("backup %s to be %s", name, phase), func() (bool, string) {
		if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &b); err != nil {
			return false, err.Error()
		}
		if final := b.Status.Phase == v1alpha1.BackupReady || b.Status.Phase == v1alpha1.BackupFailed; final && b.Status.Phase != phase {
			require.Failf(w.t, "wrong end", "backup %s is %s: %s", name, b.Status.Phase, words(b.Status))
		}
		return b.Status.Phase == phase, words(b.Status)
	})
	return &b
}

// awaitRestore is awaitBackup for restores.
func (w *world) awaitRestore(name string, phase v1alpha1.RestorePhase) *v1alpha1.VMRestore {
	w.t.Helper()
	var r v1alpha1.VMRestore
	w.eventually(fmt.Sprintf("restore %s to be %s", name, phase), func() (bool, string) {
		if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &r); err != nil {
			return false, err.Error()
		}
		if final := r.Status.Phase == v1alpha1.RestoreReady || r.Status.Phase == v1alpha1.RestoreFailed; final && r.Status.Phase != phase {
			require.Failf(w.t, "wrong end", "restore %s is %s: %s", name, r.Status.Phase, words(r.Status))
		}
		return r.Status.Phase == phase, words(r.Status)
	})
	return &r
}

// sameDisks proves that the disks of a restored, halted VM are what was hashed.
func (w *world) sameDisks(r *v1alpha1.VMRestore, sums map[string]string) {
	w.t.Helper()
	require.Len(w.t, r.Status.Disks, len(sums))
	for _, d := range r.Status.Disks {
		require.Equal(w.t, sums[d.Name], w.sha256(d.Claim), "disk %s of VM %s", d.Name, r.Spec.NewVM)
	}
}

// eventually polls a condition; the last word it gave is told when time is up.
func (w *world) eventually(what string, ok func() (bool, string)) {
	w.t.Helper()
	w.within(patience, what, ok)
}

func (w *world) within(limit time.Duration, what string, ok func() (bool, string)) {
	w.t.Helper()
	w.polled(limit, 100*time.Millisecond, what, ok)
}

func (w *world) polled(limit, pause time.Duration, what string, ok func() (bool, string)) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		done, said := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			require.Failf(w.t, "time is up", "waiting %s for %s: %s", limit, what, said)
		}
		select {
		case <-w.ctx.Done():
			require.Failf(w.t, "test ended", "waiting for %s: %s", what, said)
		case <-time.After(pause):
		}
	}
}

func words(status any) string {
	raw, err := json.Marshal(status)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	return filepath.Join(dir, "..", "..")
}
