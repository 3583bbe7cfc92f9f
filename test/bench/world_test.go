// Package bench measures what Hayloft costs next to what it steers: time over
// the bare engine, time until a cut, memory and CPU at rest, and requests to
// the API server. It runs on the local stack, prints figures and asserts none:
// what they should be and what they were is in docs/figures.md.
//
// For a quick look: HAYLOFT_BENCH_MIB (size of each disk that is moved, 1024),
// HAYLOFT_BENCH_CUTS (cuts, 100), HAYLOFT_BENCH_STOPPED (stopped VMs, 100),
// HAYLOFT_BENCH_STARTS (starts of each kind, 3), HAYLOFT_BENCH_IDLE (length of
// the idle windows, 60s), HAYLOFT_BENCH_DOCUMENTS (points on a target that is
// refreshed, 10,000).
package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const (
	mib = 1 << 20
	// patience bounds one wait, with a machine in mind that others use too.
	patience = 15 * time.Minute
	// guestTail is the end of a disk, in which the guest writes.
	guestTail = 8 * mib
)

// world is a stack, a client and a namespace.
type world struct {
	*harness.Stack
	b   *testing.B
	ctx context.Context
	c   client.WithWatch
	ns  string
}

func newWorld(b *testing.B) *world {
	b.Helper()
	return newWorldWith(b, harness.StackOptions{LogLevel: "info"})
}

func newWorldWith(b *testing.B, options harness.StackOptions) *world {
	b.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1alpha1.AddToScheme, kubevirt.AddToScheme, longhorn.AddToScheme,
	} {
		check(b, add(scheme))
	}
	s := harness.NewStack(b, options)
	s.Config.WarningHandlerWithContext = rest.NoWarnings{}
	c, err := client.NewWithWatch(s.Config, client.Options{Scheme: scheme})
	check(b, err)
	return &world{Stack: s, b: b, ctx: b.Context(), c: c, ns: harness.Namespace(b, s.Config)}
}

// startHayloft starts an agent per node and two coordinators, all as in production.
func (w *world) startHayloft() (agents, coordinators []*harness.Program) {
	w.b.Helper()
	agents = w.StartAgents(w.b, harness.ProgramOptions{})
	for _, name := range []string{"coordinator-1", "coordinator-2"} {
		coordinators = append(coordinators, w.StartCoordinator(w.b, name, harness.ProgramOptions{}))
	}
	return agents, coordinators
}

// local runs the stack's own tool.
func (w *world) local(args ...string) string {
	w.b.Helper()
	out, err := output(w.ctx, nil, filepath.Join(harness.Root(w.b), "bin", "local", "hayloft-local"), args...)
	check(w.b, err)
	return out
}

// output runs a program to its end and returns what it printed.
func output(ctx context.Context, env []string, path string, args ...string) (string, error) {
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(path), strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// claim makes a claim and waits until it is bound.
func (w *world) claim(name string, size int64) {
	w.b.Helper()
	class, block := "longhorn", corev1.PersistentVolumeBlock
	c := &corev1.PersistentVolumeClaim{}
	c.Namespace, c.Name = w.ns, name
	c.Spec.StorageClassName, c.Spec.VolumeMode = &class, &block
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}
	check(w.b, w.c.Create(w.ctx, c))
	await(w, c, "to be bound", func() bool { return c.Status.Phase == corev1.ClaimBound })
}

// vm is a VM whose disks are the given claims, called by the claims' names.
func (w *world) vm(name string, strategy kubevirt.VirtualMachineRunStrategy, claims ...string) *kubevirt.VirtualMachine {
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = w.ns, name
	vm.Spec.RunStrategy = &strategy
	vm.Spec.Template = &kubevirt.VirtualMachineInstanceTemplateSpec{}
	spec := &vm.Spec.Template.Spec
	for _, claim := range claims {
		spec.Domain.Devices.Disks = append(spec.Domain.Devices.Disks, kubevirt.Disk{
			Name: claim, DiskDevice: kubevirt.DiskDevice{Disk: &kubevirt.DiskTarget{Bus: kubevirt.DiskBusVirtio}},
		})
		source := &kubevirt.PersistentVolumeClaimVolumeSource{}
		source.ClaimName = claim
		spec.Volumes = append(spec.Volumes, kubevirt.Volume{Name: claim, VolumeSource: kubevirt.VolumeSource{PersistentVolumeClaim: source}})
	}
	return vm
}

// runningVM makes a VM with two disks full of random data and waits until it runs.
func (w *world) runningVM(name string, size int64) {
	w.b.Helper()
	w.startVM(w.vm(name, kubevirt.RunStrategyAlways, w.filled(size, name+"-root", name+"-data")...))
}

// filled makes claims full of random data, but for the end of each.
func (w *world) filled(size int64, claims ...string) []string {
	w.b.Helper()
	for i, claim := range claims {
		w.claim(claim, size)
		w.local("disk", "fill", "--kubeconfig", w.Kubeconfig, "--namespace", w.ns, "--claim", claim,
			"--seed", strconv.Itoa(1+i), "--length", strconv.FormatInt(size-guestTail, 10))
	}
	return claims
}

func (w *world) startVM(vm *kubevirt.VirtualMachine) {
	w.b.Helper()
	check(w.b, w.c.Create(w.ctx, vm))
	await(w, vm, "to run", func() bool { return vm.Status.PrintableStatus == kubevirt.VirtualMachineStatusRunning })
}

// backup makes a VMBackup and waits until it is Ready; took is from before the
// request that creates it until a watch shows that.
func (w *world) backup(name, vm, target string) (o *v1alpha1.VMBackup, took time.Duration) {
	w.b.Helper()
	o = w.newBackup(name, vm, target)
	var line timeline
	took = w.createAndWatch(o, "to be Ready", func() bool {
		line.see(string(o.Status.Phase))
		if o.Status.Phase == v1alpha1.BackupFailed {
			w.b.Fatalf("backup %s failed: %+v", name, o.Status.Conditions)
		}
		return o.Status.Phase == v1alpha1.BackupReady
	})
	w.b.Logf("backup %s:%s", name, line.text)
	return o, took
}

// timeline notes when each phase of an object was first seen.
type timeline struct {
	began time.Time
	last  string
	text  string
}

func (l *timeline) see(phase string) {
	if l.began.IsZero() {
		l.began = time.Now()
	}
	if phase == l.last || phase == "" {
		return
	}
	l.last = phase
	l.text += fmt.Sprintf(" %s after %.2f s", phase, time.Since(l.began).Seconds())
}

func (w *world) newBackup(name, vm, target string) *v1alpha1.VMBackup {
	o := &v1alpha1.VMBackup{}
	o.Namespace, o.Name = w.ns, name
	o.Spec.VM, o.Spec.Target = vm, target
	return o
}

// createAndWatch creates an object and follows it until done; it returns how
// long that took, and leaves the object as it was last seen.
func (w *world) createAndWatch(o client.Object, what string, done func() bool) time.Duration {
	w.b.Helper()
	began := time.Now()
	check(w.b, w.c.Create(w.ctx, o))
	await(w, o, what, done)
	return time.Since(began)
}

// await follows an object by a watch, which shows it as it is first.
func await[T client.Object](w *world, o T, what string, done func() bool) {
	w.b.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	for ctx.Err() == nil {
		if follow(ctx, w, o, done) {
			return
		}
	}
	w.b.Fatalf("%T %s: waited %s for it %s; last seen: %+v", o, o.GetName(), patience, what, o)
}

// follow is one watch; false when it ended before done.
func follow[T client.Object](ctx context.Context, w *world, o T, done func() bool) bool {
	w.b.Helper()
	gvks, _, err := w.c.Scheme().ObjectKinds(o)
	check(w.b, err)
	list, err := w.c.Scheme().New(gvks[0].GroupVersion().WithKind(gvks[0].Kind + "List"))
	check(w.b, err)
	events, err := w.c.Watch(ctx, list.(client.ObjectList), client.InNamespace(o.GetNamespace()),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", o.GetName())})
	check(w.b, err)
	defer events.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case e, open := <-events.ResultChan():
			if !open {
				return false
			}
			if _, same := e.Object.(T); !same {
				continue
			}
			check(w.b, w.c.Scheme().Convert(e.Object, o, nil))
			if done() {
				return true
			}
		}
	}
}

// settled waits until no job is there and no volume's lease is held.
func (w *world) settled() {
	w.b.Helper()
	w.eventually("the jobs to be gone", func() bool {
		var jobs v1alpha1.NodeJobList
		check(w.b, w.c.List(w.ctx, &jobs, client.InNamespace(harness.HayloftNamespace)))
		return len(jobs.Items) == 0
	})
}

// eventually polls for what no single object shows.
func (w *world) eventually(what string, ok func() bool) {
	w.b.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			w.b.Fatalf("waited %s for %s", patience, what)
		}
		select {
		case <-w.ctx.Done():
			w.b.Fatalf("the benchmark ended, waiting for %s", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// targetReady waits until the coordinators have probed a target.
func (w *world) targetReady(name string) *v1alpha1.BackupTarget {
	w.b.Helper()
	t := &v1alpha1.BackupTarget{}
	t.Name = name
	await(w, t, "to be Ready", func() bool {
		for _, c := range t.Status.Conditions {
			if c.Type == v1alpha1.ConditionReady && c.Status == "True" {
				return true
			}
		}
		return false
	})
	return t
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// setting is a whole number from the environment.
func setting(b *testing.B, name string, usual int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s=%q is not a positive whole number", name, text)
	}
	return n
}

// load says how busy the machine is, for who reads the figures.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load unknown"
	}
	return fmt.Sprintf("load %s", strings.Join(strings.Fields(string(raw))[:3], " "))
}
