package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/containertest"
	"hayloft.dev/test/harness"
)

// inContainerd is the KubeVirt stand-in's annotation for a guest that runs in a
// container.
const inContainerd = "local.hayloft.dev/containerd"

// pauses: VMs without a guest agent whose containers, of a real containerd and
// runc, stand still while the disks are cut. HAYLOFT_PAUSES is how many points are
// taken and restored besides those of the faults: `make pauses` takes 200.
func pauses(t *testing.T, s *harness.Stack) {
	ctrd := containertest.Start(t)
	w := bare(t, s)
	socket := s.PauserSocket(t)
	start := func() *harness.Program { return s.StartPauser(t, ctrd.Socket, socket, "--limit", "1m", "--hooks") }
	pauser := start()
	relay := newRelay(t, socket)
	// Those of these nodes, or of all, that do not run.
	agents := func(nodes ...string) {
		for _, n := range s.Nodes {
			if a := w.agents[n.Name]; a != nil && a.Running() || len(nodes) > 0 && !slices.Contains(nodes, n.Name) {
				continue
			}
			w.startAgent(n.Name, harness.ProgramOptions{Args: []string{"--pauser-socket", relay.listen}})
		}
	}
	agents()
	w.startCoordinator("coordinator-1", harness.ProgramOptions{})
	w.writingVM("vm", map[string]string{inContainerd: ctrd.Socket})

	must := v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, Method: v1alpha1.QuiescePause, DeadlineSeconds: 60}
	var stood []time.Duration
	for i := range pauseCount(t) {
		q := must
		if i == 0 {
			q = v1alpha1.Quiesce{DeadlineSeconds: 60} // a guest without an agent is paused by itself
		}
		name := fmt.Sprintf("point-%d", i)
		w.snapshotOf(name, "vm", q)
		stood = append(stood, w.stoodStill(name))
	}
	slices.Sort(stood)
	t.Logf("%d points, stood still for: p50 %s, p99 %s, %s at most", len(stood), stood[len(stood)/2], stood[len(stood)*99/100], stood[len(stood)-1])

	w.snapshotOf("frozen", "vm", v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired})
	_, why := readyWords(t, w.awaitBackup("frozen", v1alpha1.BackupFailed))
	require.Contains(t, why, "spec.quiesce.method Pause", "who requires a frozen guest is not served with a paused one")

	t.Log("kill -9 of every agent while the container stands still")
	struck := relay.onPaused(func() {
		for _, a := range w.agents {
			a.Kill(t)
		}
	})
	w.snapshotOf("agent-killed", "vm", must)
	<-struck
	w.awaitWrites("vm")
	t.Log("those of the other nodes come back first: the cut is kept for that of the VM's node")
	home := w.nodeOf("vm")
	var others []string
	for _, n := range s.Nodes {
		if n.Name != home {
			others = append(others, n.Name)
		}
	}
	agents(others...)
	w.eventually("an agent of another node to wait", func() (bool, string) {
		said := conditionText(w.pointNow("agent-killed").Status.Conditions, v1alpha1.ConditionProgressing)
		return strings.Contains(said, "runs on node "+home+", and only the agent there can pause it"), said
	})
	agents()
	w.stoodStill("agent-killed")

	t.Log("kill -9 of the pauser, all of it, while the container stands still")
	struck = relay.onPaused(func() { pauser.KillAll(t) })
	w.snapshotOf("pauser-killed", "vm", v1alpha1.Quiesce{DeadlineSeconds: 60})
	<-struck
	pauser = start() // as a kubelet does
	w.awaitWrites("vm")
	b := w.awaitBackup("pauser-killed", v1alpha1.BackupReady)
	require.Equal(t, v1alpha1.ConsistencyQuiesceFailed, b.Status.Consistency, "the cut may have gone on after the container did: %s", b.Status.ConsistencyMessage)
	require.Contains(t, b.Status.ConsistencyMessage, "is not certain")

	hooked(w, ctrd, relay, agents)
	writer := containertest.Writer(t)
	besideVM(w, ctrd, writer, relay, agents)

	t.Log("no pauser")
	relay.refuse()
	w.snapshotOf("refused", "vm", v1alpha1.Quiesce{})
	b = w.awaitBackup("refused", v1alpha1.BackupReady)
	require.Equal(t, v1alpha1.ConsistencyQuiesceFailed, b.Status.Consistency, b.Status.ConsistencyMessage)
	w.snapshotOf("refused-must", "vm", must)
	reason, _ := readyWords(t, w.awaitBackup("refused-must", v1alpha1.BackupFailed))
	require.Equal(t, v1alpha1.ReasonQuiesceFailed, reason)
	w.awaitWrites("vm")
	require.True(t, pauser.Running())
	w.nothingLeft()
	// Its container would else be started again, on a containerd that is gone.
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = w.ns, "vm"
	w.mustRemove(vm)
	w.gone(vm)

	newRelay(t, socket)
	besideOthers(w, ctrd, writer, agents)
	w.nothingLeft()
}

// hooked: commands that the VM declares are run in its container before and after
// the cut. They have the guest stop writing and go on, as a database would.
func hooked(w *world, ctrd *containertest.Containerd, relay *relay, agents func(nodes ...string)) {
	vmi := &kubevirt.VirtualMachineInstance{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "vm"}, vmi))
	pod := containertest.Pod{Namespace: w.ns, Name: "virt-launcher-vm"}
	for uid := range vmi.Status.ActivePods {
		pod.UID = string(uid)
	}
	command := func(op string) string {
		return fmt.Sprintf(`["/guest", "vm", %q, %q, "--dir", %q]`, op, w.ns+"/vm", w.Dir)
	}
	declared := map[string]string{hooks.Before + "/command": command("quiet"), hooks.After + "/command": command("resume")}
	// A VM's template says them, and KubeVirt hands them on when the VM starts.
	ctrd.Sandbox(w.t, "sandbox", pod, declared)
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": declared}})
	require.NoError(w.t, err)
	w.patch(vmi, string(body))

	well := func(name string) {
		b := w.awaitBackup(name, v1alpha1.BackupReady)
		require.Len(w.t, b.Status.Hooks, 2)
		for i, hook := range []string{"pre", "post"} {
			require.Equal(w.t, hook, b.Status.Hooks[i].Hook)
			require.False(w.t, b.Status.Hooks[i].Failed, b.Status.Hooks[i].Message)
		}
		copied := w.restoreHalted("r-"+name, name, "copy-"+name)
		require.Equal(w.t, w.sequence(copied["root"]), w.sequence(copied["data1"]), "the guest wrote nothing")
	}
	w.t.Log("hooks")
	w.snapshotOf("hooked", "vm", v1alpha1.Quiesce{DeadlineSeconds: 60})
	well("hooked")
	w.awaitWrites("vm")

	w.t.Log("kill -9 of every agent between the hooks")
	struck := relay.onPaused(func() { // it is the hook's answer that comes first
		for _, a := range w.agents {
			a.Kill(w.t)
		}
	})
	w.snapshotOf("hooked-killed", "vm", v1alpha1.Quiesce{DeadlineSeconds: 60})
	<-struck
	w.awaitWrites("vm")
	agents()
	well("hooked-killed")
	w.awaitWrites("vm")

	w.t.Log("a hook that fails")
	w.patch(vmi, fmt.Sprintf(`{"metadata":{"annotations":{%q:"an hour"}}}`, hooks.Before+"/timeout"))
	w.snapshotOf("hook-wrong", "vm", v1alpha1.Quiesce{})
	reason, message := readyWords(w.t, w.awaitBackup("hook-wrong", v1alpha1.BackupFailed))
	require.Equal(w.t, v1alpha1.ReasonHookFailed, reason)
	require.Contains(w.t, message, `annotation pre.hook.hayloft.dev/timeout: "an hour": give a duration`)
	w.patch(vmi, fmt.Sprintf(`{"metadata":{"annotations":{%q:null,%q:null,%q:null}}}`, hooks.Before+"/timeout", hooks.Before+"/command", hooks.After+"/command"))
}

// pauseCount is how many points are taken of a VM that is paused.
func pauseCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("HAYLOFT_PAUSES")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "HAYLOFT_PAUSES is a number")
	return n
}

// nodeOf is the node that a VM runs on.
func (w *world) nodeOf(vm string) string {
	w.t.Helper()
	vmi := &kubevirt.VirtualMachineInstance{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: vm}, vmi))
	return vmi.Status.NodeName
}

// snapshotOf makes a Snapshot point.
func (w *world) snapshotOf(name, vm string, q v1alpha1.Quiesce) {
	w.t.Helper()
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, name
	b.Spec = v1alpha1.VMBackupSpec{VM: vm, Type: v1alpha1.TypeSnapshot, Quiesce: q}
	require.NoError(w.t, w.c.Create(w.ctx, b))
}

// stoodStill waits for a point that was cut while the VM was paused, and restores
// it: the second disk is not ahead of the first, and a round behind it at most. It
// returns how long the VM stood still. The copy and the point are deleted.
func (w *world) stoodStill(point string) time.Duration {
	w.t.Helper()
	b := w.awaitBackup(point, v1alpha1.BackupReady)
	require.Equal(w.t, v1alpha1.ConsistencyPaused, b.Status.Consistency, b.Status.ConsistencyMessage)
	require.NotNil(w.t, b.Status.FrozenMilliseconds)
	copied := w.restoreHalted("r-"+point, point, "copy-"+point)
	first, second := w.sequence(copied["root"]), w.sequence(copied["data1"])
	w.t.Logf("%s: the first disk ends with write %d, the second with %d; paused for %d ms", point, first, second, *b.Status.FrozenMilliseconds)
	require.LessOrEqual(w.t, second, first, "the second disk is not ahead of the first")
	require.LessOrEqual(w.t, first-second, int64(1), "no round is missing on the second disk")
	require.Positive(w.t, second)

	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name = w.ns, "r-"+point
	w.mustRemove(r)
	w.removeStressVM("copy-"+point, copied)
	w.mustRemove(b)
	return time.Duration(*b.Status.FrozenMilliseconds) * time.Millisecond
}
