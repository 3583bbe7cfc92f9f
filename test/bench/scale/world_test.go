// Package scale measures what many schedules and points cost the coordinator: its
// memory and CPU at rest and while many schedules fire in one minute, and how
// late the jobs of these come.
//
// The API server and the coordinator are the real programs. The agents are played
// at the level of NodeJobs, and the target worker is one that says yes
// (answerer), so nothing is cut or moved: what that costs is told by the package
// bench. It asserts no figure; what they should be and what they were is in
// docs/figures.md.
//
// HAYLOFT_BENCH_VMS is the number of VMs (5,000; each has two schedules and 16
// points), HAYLOFT_BENCH_FIRING that of the schedules that fire at once (1,000),
// HAYLOFT_BENCH_IDLE the length of the idle window (60s). HAYLOFT_BENCH_PROFILE names a
// file for the API server's CPU profile of the first seconds in which they fire;
// HAYLOFT_APISERVER_GOGC is how the API server collects its garbage.
package scale

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const (
	ownNamespace      = "hayloft-system"
	longhornNamespace = "longhorn-system"
	target            = "store"
	mib               = 1 << 20
)

// world is an API server and what was put into it.
type world struct {
	b      *testing.B
	ctx    context.Context
	c      client.WithWatch
	config *rest.Config
	etcd   *etcd
	now    time.Time

	machines             []machine
	vm, volume, snapshot template
	schedule, point      map[v1alpha1.BackupType]template
}

func newWorld(b *testing.B) *world {
	b.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1alpha1.AddToScheme, kubevirt.AddToScheme, longhorn.AddToScheme,
	} {
		check(b, add(scheme))
	}
	config := harness.APIServer(b)
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	check(b, err)
	w := &world{
		b: b, ctx: b.Context(), c: c, config: config, etcd: openEtcd(b, harness.Kubeconfig(b)), now: time.Now().UTC().Truncate(time.Minute),
		schedule: map[v1alpha1.BackupType]template{}, point: map[v1alpha1.BackupType]template{},
	}
	w.namespace(ownNamespace)
	w.namespace(longhornNamespace)
	t := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: target}}
	t.Spec.Directory = &v1alpha1.DirectoryTarget{Path: "/backups"}
	t.Spec.Refresh = &v1alpha1.TargetRefresh{Interval: "Never"} // what a refresh costs is measured elsewhere
	check(b, c.Create(w.ctx, t))
	return w
}

func (w *world) namespace(name string) {
	w.b.Helper()
	err := w.c.Create(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if !apierrors.IsAlreadyExists(err) {
		check(w.b, err)
	}
}

// startCoordinator starts one that leads, with the stand-in for the target worker.
func (w *world) startCoordinator() *harness.Program {
	w.b.Helper()
	worker := filepath.Join(w.b.TempDir(), "answerer")
	build := exec.CommandContext(w.ctx, "go", "build", "-o", worker, "./answerer")
	if out, err := build.CombinedOutput(); err != nil {
		w.b.Fatalf("building the answerer: %v: %s", err, out)
	}
	return harness.StartLoneCoordinator(w.b, "coordinator-1", harness.ProgramOptions{Kubeconfig: harness.Kubeconfig(w.b), Args: []string{
		"--namespace", ownNamespace, "--longhorn-namespace", longhornNamespace, "--targetio", worker,
	}})
}

// set puts a value into an object's map, at a path that may not exist yet.
func set(o map[string]any, value any, path ...string) {
	for _, key := range path[:len(path)-1] {
		inner, ok := o[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			o[key] = inner
		}
		o = inner
	}
	if labels, ok := value.(map[string]string); ok {
		plain := map[string]any{}
		for k, v := range labels {
			plain[k] = v
		}
		value = plain
	}
	o[path[len(path)-1]] = value
}

func setStatus(b *testing.B, o map[string]any, status any) {
	b.Helper()
	raw, err := json.Marshal(status)
	check(b, err)
	plain := map[string]any{}
	check(b, json.Unmarshal(raw, &plain))
	o["status"] = plain
}

func digest(uid types.UID) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:])
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

// pass lets time go by: what is measured here is also what happens when nothing does.
func (w *world) pass(d time.Duration) {
	w.b.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.ctx.Done():
		w.b.Fatal("the benchmark ended")
	case <-timer.C:
	}
}

// load says how busy the machine is, for who reads the figures.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load unknown"
	}
	return fmt.Sprintf("load %s", strings.Join(strings.Fields(string(raw))[:3], " "))
}
