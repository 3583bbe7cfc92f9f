package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestCoordinatorKilledAtEachStep kills the only coordinator again and again while
// it makes a backup, a restore and a deletion: before one of its writes, of which
// the API server never hears, and the next process after its first write, which
// the API server has done. So each step is cut off at both sides. What was begun
// is finished once and whole.
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
		what:   "restore",
		beside: pointSeen,
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
	cuts       int // how many engine snapshots the VM's disk may have when all is settled; below 0: any

	kills int                        // how many more processes are to be killed
	after bool                       // the next one after its first step, else before its nth matching one
	nth   int                        // counted from 1
	match func(harness.Request) bool // which steps count for nth

	mu      sync.Mutex // held while a process starts, which may write before we know it
	process *harness.Program
}

func newStepWalk(t testing.TB) *stepWalk {
	t.Helper()
	// Of backups: the base of the next incremental, and what the next one removes.
	w := &stepWalk{world: bare(t, newStack(t)), cuts: 2}
	for _, n := range w.Nodes {
		w.startAgent(n.Name, harness.ProgramOptions{Args: unhurried[:2]})
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
	w.process = w.startCoordinator("coordinator-1", harness.ProgramOptions{Kubeconfig: w.kubeconfig, Args: slices.Concat(quickSweeps, unhurried)})
}

func (w *stepWalk) victim() *harness.Program {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.process
}

// steps are a plan to be walked: what is done in each run, k counted from 1.
type steps struct {
	what           string
	prepare, check func(k int) // may be nil
	begin          func(k int)
	done           func(k int) (bool, string)
	// beside is a kind of write that is not the plan's own and need not come.
	beside string
}

// strides are at which step from its start a process is killed, at most: in the run
// with 1 each does one step or none, so every step of the plan is cut off at both
// sides; in the one with 3 some have done other steps before.
var strides = []int{3, 1}

// walk does one run for each stride and an undisturbed one. Since some writes come
// by timing, a kind of write may have been passed over; such kinds are then met by
// name.
func (w *stepWalk) walk(s steps) {
	w.t.Helper()
	began := time.Now()
	met := map[string]bool{}
	k, killed := 0, 0
	for _, stride := range strides {
		k++
		n := w.round(s, k, 2*mostSteps, stride, isStep, met)
		require.Positive(w.t, n, "a %s has no steps", s.what)
		require.Less(w.t, n, 2*mostSteps, "a %s takes too many writes", s.what)
		killed += n
	}
	k++
	w.round(s, k, 0, 0, isStep, met)
	undisturbed := w.written()
	w.t.Logf("%s: %d processes killed in %s; undisturbed it writes: %s",
		s.what, killed, time.Since(began).Round(time.Second), strings.Join(undisturbed, ", "))
	for _, name := range undisturbed {
		if met[name] || name == touches || name == s.beside {
			continue
		}
		k++
		named := func(r harness.Request) bool { return isStep(r) && stepName(r) == name }
		require.Positive(w.t, w.round(s, k, 2, 1, named, met), "a %s has no %s", s.what, name)
	}
}

// touches is a write that only comes when Kubernetes' volume controller lags.
const touches = "PATCH persistentvolumeclaims"

// pointSeen is what a look at a point writes, which comes by the clock beside a restore.
const pointSeen = "PUT vmbackups/status"

// mostSteps bounds a walk: a plan that takes so many writes is broken.
const mostSteps = 60

// round is one run, numbered k, in which up to so many processes are killed: in
// turn before their nth write for which match says yes, and after their first
// step. It returns how many were; kinds of writes at which they were go to met.
func (w *stepWalk) round(s steps, k, kills, nth int, match func(harness.Request) bool, met map[string]bool) int {
	w.t.Helper()
	if s.prepare != nil {
		w.disarm()
		s.prepare(k)
		w.settle(s.what, func() (bool, string) { return true, "" })
	}
	w.disarm()
	w.proxy.Reset()
	w.kills, w.after, w.nth, w.match = kills, false, nth, match
	w.arm()
	s.begin(k)
	w.settle(s.what, func() (bool, string) { return s.done(k) })
	w.disarm()
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
	return len(killed)
}

// arm has the process that runs, or that is started next, killed as the round wants.
func (w *stepWalk) arm() {
	w.t.Helper()
	switch {
	case w.kills == 0:
		return
	case w.after:
		w.proxy.KillAt(w.t, 1, harness.AfterWrite, w.unlessRepeated(isStep), w.victim)
	default:
		w.proxy.KillAt(w.t, w.nth, harness.BeforeWrite, w.unlessRepeated(w.match), w.victim)
	}
	w.kills--
	w.after = !w.after
}

// unlessRepeated leaves out the deletions of copies that were cut off at both
// sides. Every process asks for them once, since it may not look whether there are
// any: what deletes nothing any more is no step.
func (w *stepWalk) unlessRepeated(match func(harness.Request) bool) func(harness.Request) bool {
	cut := map[string]int{}
	for _, r := range w.proxy.Writes() {
		if r.Interrupted {
			cut[stepName(r)]++
		}
	}
	return func(r harness.Request) bool {
		name := stepName(r)
		copies := name == "DELETE secrets" || name == "DELETE configmaps"
		return match(r) && !(copies && cut[name] >= 2)
	}
}

// disarm lets the coordinator live.
func (w *stepWalk) disarm() {
	w.t.Helper()
	w.kills = 0
	w.proxy.InterruptAt(1, harness.BeforeWrite, func(harness.Request) bool { return false }, func() {})
	w.keepRunning() // the former plan may have fired after its run had settled
}

func (w *stepWalk) keepRunning() {
	w.t.Helper()
	if w.victim().Running() {
		return
	}
	w.arm()
	w.start()
}

// settle keeps a coordinator running until a condition holds and nothing is
// left to be done.
func (w *stepWalk) settle(what string, done func() (bool, string)) {
	w.t.Helper()
	w.within(2*patience, "the "+what+" to settle", func() (bool, string) {
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
