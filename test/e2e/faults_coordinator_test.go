package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestCoordinatorKilledAtEachStep kills the only coordinator at its k-th write,
// for every k of a backup, of a restore and of a deletion, before the API server
// hears of it; then the next process at its first write, after the API server
// has done it. So each step is cut off at both sides. The third process finishes
// what was begun, once and whole.
func TestCoordinatorKilledAtEachStep(t *testing.T) {
	t.Parallel()
	w := newStepWalk(t)
	w.runningVM("vm", 16*mib)
	w.quietHashes("vm", "root")
	sums := map[string]string{} // point -> hash of the disk when it was cut
	var points []string
	point := func(name string, k int) {
		sums[name] = w.rewritten("vm", "root", int64(k%3)*2*mib, mib, k)
		w.backup(name, "vm")
	}

	w.walk(steps{
		what: "backup",
		begin: func(k int) {
			points = append(points, fmt.Sprintf("point-%d", k))
			point(points[k-1], k)
		},
		done:  func(k int) (bool, string) { return w.backupReady(points[k-1]) },
		check: func(k int) { w.requireWholeOnce(w.awaitBackup(points[k-1], v1alpha1.BackupReady)) },
	})

	copyOf := func(k int) (restore, point string) { return fmt.Sprintf("restore-%d", k), points[k%len(points)] }
	w.walk(steps{
		what: "restore",
		begin: func(k int) {
			restore, point := copyOf(k)
			w.restore(restore, point, fmt.Sprintf("copy-%d", k))
		},
		done: func(k int) (bool, string) { name, _ := copyOf(k); return w.restoreReady(name) },
		check: func(k int) {
			restore, point := copyOf(k)
			r := w.awaitRestore(restore, v1alpha1.RestoreReady)
			w.requireMadeOnce(r)
			w.sameDisks(r, map[string]string{"root": sums[point]})
		},
	})

	// The newest points have an engine snapshot to be removed, so each deletion
	// gets a point of its own.
	victim := func(k int) string { return fmt.Sprintf("victim-%d", k) }
	w.walk(steps{
		what: "deletion",
		prepare: func(k int) {
			point(victim(k), k)
			w.awaitBackup(victim(k), v1alpha1.BackupReady)
		},
		begin: func(k int) { w.deletePoints(victim(k)) },
		done:  func(k int) (bool, string) { return w.pointGone(victim(k)) },
	})

	w.disarm()
	w.deletePoints(points...)
	w.awaitGone(points...)
	w.nothingLeft()
	w.requireEmptyTarget()
	require.NotContains(t, w.victim().Log(t), "DATA RACE")
}

// TestLeaderKilledStandbyTakesOver: the leader dies in the middle of a backup's
// transfer, and the next one in the middle of a restore's. Each time the standby
// finishes it: nothing is moved twice, and there is one document.
func TestLeaderKilledStandbyTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	w.runningVM("vm", 128*mib)
	sums := w.quietHashes("vm", "root")

	first := w.awaitLeader()
	w.backup("point", "vm")
	w.awaitTransfer("backup")
	first.Kill(t)
	second := w.awaitLeader()
	require.NotEqual(t, first.Name, second.Name)
	w.requireWholeOnce(w.awaitBackup("point", v1alpha1.BackupReady))
	require.Equal(t, second, w.leader(), "it led to the end")

	w.startCoordinator("coordinator-3", harness.ProgramOptions{})
	w.restore("r", "point", "copy")
	w.awaitTransfer("restore")
	second.Kill(t)
	require.Equal(t, "coordinator-3", w.awaitLeader().Name)
	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	w.requireMadeOnce(r)
	w.sameDisks(r, sums)
	w.nothingLeft()
}

// stepWalk is a world with one coordinator, which is killed and started again.
type stepWalk struct {
	*world
	proxy      *harness.Proxy
	kubeconfig string
	again      bool // the next process is to be killed at its first step
	cuts       int  // how many engine snapshots the VM's disk may have when all is settled; below 0: any

	mu      sync.Mutex // held while a process starts, which may write before we know it
	process *harness.Program
}

func newStepWalk(t testing.TB) *stepWalk {
	t.Helper()
	// Of backups: the base of the next incremental, and what the next one removes.
	w := &stepWalk{world: bare(t, newStack(t)), cuts: 2}
	for _, n := range w.Nodes {
		w.startAgent(n.Name, harness.ProgramOptions{})
	}
	w.proxy = harness.NewProxy(t, w.Config)
	w.kubeconfig = w.proxy.Kubeconfig(t, w.Kubeconfigs["coordinator"])
	w.start()
	return w
}

// start starts the next process. It has its predecessor's identity, as a
// container that is started again has, and so leads at once.
func (w *stepWalk) start() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.process = w.startCoordinator("coordinator-1", harness.ProgramOptions{Kubeconfig: w.kubeconfig, Args: quickSweeps})
}

func (w *stepWalk) victim() *harness.Program {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.process
}

// steps are a plan to be walked: what is done k times, each time with another
// write as the last one of a process.
type steps struct {
	what           string
	prepare, check func(k int) // may be nil
	begin          func(k int)
	done           func(k int) (bool, string)
}

// walk goes on until a run has no k-th write, so that every write of the plan
// was a process's last one. Since some writes come by timing, a kind of write
// may have been passed over; such kinds are then met by name.
func (w *stepWalk) walk(s steps) {
	w.t.Helper()
	began := time.Now()
	met := map[string]bool{}
	k := 1
	for w.round(s, k, k, isStep, met) {
		k++
		require.LessOrEqual(w.t, k, mostSteps, "a %s takes too many writes", s.what)
	}
	undisturbed := w.written()
	w.t.Logf("%s: killed at each of %d steps in %s; undisturbed it writes: %s",
		s.what, k-1, time.Since(began).Round(time.Second), strings.Join(undisturbed, ", "))
	for _, name := range undisturbed {
		if met[name] || name == touches {
			continue
		}
		k++
		named := func(r harness.Request) bool { return isStep(r) && stepName(r) == name }
		require.True(w.t, w.round(s, k, 1, named, met), "a %s has no %s", s.what, name)
	}
}

// touches is a write that only comes when Kubernetes' volume controller lags.
const touches = "PATCH persistentvolumeclaims"

// mostSteps bounds a walk: a plan that takes so many writes is broken.
const mostSteps = 60

// round is one run, numbered k, with a process killed at its nth write for which
// match says yes; it returns false if there was none. Kinds of writes at which a
// process was killed go to met.
func (w *stepWalk) round(s steps, k, nth int, match func(harness.Request) bool, met map[string]bool) bool {
	w.t.Helper()
	if s.prepare != nil {
		w.disarm()
		s.prepare(k)
		w.settle(s.what, func() (bool, string) { return true, "" })
	}
	w.proxy.Reset()
	w.killAt(nth, harness.BeforeWrite, match)
	w.again = true
	s.begin(k)
	w.settle(s.what, func() (bool, string) { return s.done(k) })
	w.again = false
	var killed []string
	for _, r := range w.proxy.Writes() {
		if !r.Interrupted {
			continue
		}
		met[stepName(r)] = true
		if r.Status == 0 {
			killed = append(killed, "before "+stepName(r))
		} else {
			killed = append(killed, fmt.Sprintf("after %s (%d)", stepName(r), r.Status))
		}
	}
	if len(killed) > 0 {
		w.t.Logf("%s %d: killed %s", s.what, k, strings.Join(killed, ", "))
	}
	if s.check != nil {
		s.check(k)
	}
	return len(killed) > 0
}

// killAt has the coordinator killed at its nth matching write from now.
func (w *stepWalk) killAt(nth int, moment harness.Moment, match func(harness.Request) bool) {
	w.t.Helper()
	w.proxy.KillAt(w.t, nth, moment, match, w.victim)
	w.keepRunning() // the former plan may have fired after its run had settled
}

// disarm lets the coordinator live.
func (w *stepWalk) disarm() {
	w.t.Helper()
	w.proxy.InterruptAt(1, harness.BeforeWrite, func(harness.Request) bool { return false }, func() {})
	w.keepRunning()
}

func (w *stepWalk) keepRunning() {
	w.t.Helper()
	if w.victim().Running() {
		return
	}
	if w.again {
		w.again = false
		w.proxy.KillAt(w.t, 1, harness.AfterWrite, isStep, w.victim)
	}
	w.start()
}

// settle keeps a coordinator running until a condition holds and nothing is
// left to be done.
func (w *stepWalk) settle(what string, done func() (bool, string)) {
	w.t.Helper()
	w.eventually("the "+what+" to settle", func() (bool, string) {
		w.keepRunning()
		if ok, said := done(); !ok {
			return false, said
		}
		left := append(w.clusterLeftovers(), w.targetLeftovers()...)
		if w.cuts >= 0 {
			if cuts := w.ourSnapshots("vm-root"); len(cuts) > w.cuts {
				left = append(left, "engine snapshots that nobody needs: "+strings.Join(cuts, ", "))
			}
		}
		return len(left) == 0, strings.Join(left, ", ")
	})
}

// isStep leaves out what comes unordered or by the clock, and would make k mean
// another step in every run: leases, events, and the target's own status.
func isStep(r harness.Request) bool {
	return harness.SkipLeases(r) && !strings.Contains(r.Path, "/events") && !strings.Contains(r.Path, "/backuptargets/")
}

// written are the steps since the run began.
func (w *stepWalk) written() (list []string) {
	for _, r := range w.proxy.Writes() {
		if isStep(r) {
			list = append(list, stepName(r))
		}
	}
	return list
}

// stepName is a request's method and kind, without names.
func stepName(r harness.Request) string {
	parts := strings.Split(strings.Trim(r.Path, "/"), "/")
	kind := 2 // api/v1/persistentvolumes
	if parts[0] == "apis" {
		kind = 3 // apis/group/version/kind
	}
	if len(parts) > kind+2 && parts[kind] == "namespaces" {
		kind += 2
	}
	name := parts[min(kind, len(parts)-1)]
	if parts[len(parts)-1] == "status" {
		name += "/status"
	}
	return r.Method + " " + name
}

func (w *world) backupReady(name string) (bool, string) {
	var b v1alpha1.VMBackup
	if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &b); err != nil {
		return false, err.Error()
	}
	require.NotEqual(w.t, v1alpha1.BackupFailed, b.Status.Phase, "%s", words(b.Status))
	return b.Status.Phase == v1alpha1.BackupReady, words(b.Status)
}

func (w *world) restoreReady(name string) (bool, string) {
	var r v1alpha1.VMRestore
	if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &r); err != nil {
		return false, err.Error()
	}
	require.NotEqual(w.t, v1alpha1.RestoreFailed, r.Status.Phase, "%s", words(r.Status))
	return r.Status.Phase == v1alpha1.RestoreReady, words(r.Status)
}
