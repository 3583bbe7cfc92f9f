package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	kubevirt "kubevirt.io/api/core/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// Annotations of the KubeVirt stand-in.
const (
	withAgent     = "local.hayloft.dev/guest-agent"
	freezeFault   = "local.hayloft.dev/freeze-fault"
	writeInterval = "local.hayloft.dev/write-interval"
)

// TestQuiesce cuts VMs whose guests write a growing number to their first disk,
// then to their second one, and so on.
func TestQuiesce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	t.Run("two disks of a frozen guest agree", func(t *testing.T) { disksAgree(t, s) })
	t.Run("what was reached is told", func(t *testing.T) { reachedIsTold(t, s) })
	t.Run("agent killed inside the freeze", func(t *testing.T) { killedInFreeze(t, s) })
	t.Run("guests without an agent are paused", func(t *testing.T) { pauses(t, s) })
}

// writingVM makes a VM with two disks whose guest writes often: some times between the cuts
// of two disks. As fast as it can, a few of them would leave two cores no time for
// anything else.
func (w *world) writingVM(name string, annotations map[string]string) {
	w.t.Helper()
	var claims []string
	for i, disk := range []string{"root", "data1"} {
		claims = append(claims, name+"-"+disk)
		w.filled(name+"-"+disk, 16*mib, i)
	}
	require.NoError(w.t, w.c.Create(w.ctx, w.vmSpec(name, claims, func(vm *kubevirt.VirtualMachine) {
		vm.Annotations = map[string]string{writeInterval: "5ms"}
		for k, v := range annotations {
			vm.Annotations[k] = v
		}
	})))
	w.awaitRunning(name)
}

// sequence is the number of the guest's last write on a claim's disk, which no
// VM may use; every write before it must be there.
func (w *world) sequence(claim string) (n int64) {
	w.t.Helper()
	line := w.disk("sequence", claim)
	require.Contains(w.t, line, "whole=true damaged=0", claim)
	_, err := fmt.Sscanf(line, "sequence=%d", &n)
	require.NoError(w.t, err, line)
	return n
}

// freezes of a VM's guest, oldest first, one a line.
func (w *world) freezes(vm string) []string {
	w.t.Helper()
	if out := w.guest("freezes", vm); out != "" {
		return strings.Split(out, "\n")
	}
	return nil
}

// disksAgree: the second disk is never ahead of the first, and a round behind it
// at most, in every point that says Frozen.
func disksAgree(t *testing.T, s *harness.Stack) {
	w := newCalmWorld(t, s)
	w.writingVM("vm", map[string]string{withAgent: "connected"})
	for i := range 3 {
		name := fmt.Sprintf("point-%d", i)
		b := &v1alpha1.VMBackup{}
		b.Namespace, b.Name = w.ns, name
		b.Spec = v1alpha1.VMBackupSpec{VM: "vm", Target: w.Target, Quiesce: v1alpha1.Quiesce{DeadlineSeconds: 60}}
		if i == 1 {
			b.Spec.Type, b.Spec.Target = v1alpha1.TypeSnapshot, ""
		}
		require.NoError(t, w.c.Create(w.ctx, b))
		b = w.awaitBackup(name, v1alpha1.BackupReady)
		require.Equal(t, v1alpha1.ConsistencyFrozen, b.Status.Consistency, b.Status.ConsistencyMessage)
		require.NotNil(t, b.Status.FrozenMilliseconds)
		require.Len(t, w.freezes("vm"), i+1, "the guest is frozen once for all its disks")

		r := w.restoreHalted("r-"+name, name, "copy-"+name)
		first, second := w.sequence(r["root"]), w.sequence(r["data1"])
		t.Logf("%s: the first disk ends with write %d, the second with %d; frozen for %d ms", name, first, second, *b.Status.FrozenMilliseconds)
		require.LessOrEqual(t, second, first, "the second disk is not ahead of the first")
		require.LessOrEqual(t, first-second, int64(1), "no round is missing on the second disk")
		require.Positive(t, second)
	}
	w.nothingLeft()
}

// restoreHalted restores a point to a new VM that stays off; it returns disk ->
// claim.
func (w *world) restoreHalted(name, point, vm string) map[string]string {
	w.t.Helper()
	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name = w.ns, name
	r.Spec = v1alpha1.VMRestoreSpec{Backup: point, NewVM: vm, HaltAfterRestore: true}
	require.NoError(w.t, w.c.Create(w.ctx, r))
	claims := map[string]string{}
	for _, d := range w.awaitRestore(name, v1alpha1.RestoreReady).Status.Disks {
		claims[d.Name] = d.Claim
	}
	return claims
}

func reachedIsTold(t *testing.T, s *harness.Stack) {
	w := newCalmWorld(t, s)
	w.writingVM("vm", map[string]string{withAgent: "connected"})
	w.writingVM("bare", nil)
	w.stoppedVM("off", 16*mib)
	point := func(name, vm string, q v1alpha1.Quiesce) *v1alpha1.VMBackup {
		b := &v1alpha1.VMBackup{}
		b.Namespace, b.Name = w.ns, name
		b.Spec = v1alpha1.VMBackupSpec{VM: vm, Type: v1alpha1.TypeSnapshot, Quiesce: q}
		require.NoError(t, w.c.Create(w.ctx, b))
		return b
	}
	spoil := func(fault string) {
		vm := &kubevirt.VirtualMachine{}
		vm.Namespace, vm.Name = w.ns, "vm"
		w.patch(vm, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, freezeFault, fault))
	}
	for _, c := range []struct {
		name, vm, fault string
		q               v1alpha1.Quiesce
		want            v1alpha1.Consistency // empty: the point fails
		says            string
	}{
		{name: "offline", vm: "off", want: v1alpha1.ConsistencyOffline},
		{name: "offline-required", vm: "off", q: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired}, want: v1alpha1.ConsistencyOffline},
		{name: "no-agent", vm: "bare", want: v1alpha1.ConsistencyNoAgent, says: "install qemu-guest-agent"},
		{name: "no-agent-required", vm: "bare", q: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired}, says: "no guest agent is connected"},
		{name: "never", vm: "vm", q: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceNever}, want: v1alpha1.ConsistencyCrash},
		{name: "required", vm: "vm", q: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, DeadlineSeconds: 60}, want: v1alpha1.ConsistencyFrozen},
		{name: "error", vm: "vm", fault: "error", want: v1alpha1.ConsistencyQuiesceFailed, says: "freeze"},
		{name: "error-required", vm: "vm", fault: "error", q: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired}, says: "spec.quiesce.policy Required"},
		{name: "hang", vm: "vm", fault: "hang", q: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceBestEffort, DeadlineSeconds: 2}, want: v1alpha1.ConsistencyQuiesceFailed},
	} {
		spoil(c.fault)
		point(c.name, c.vm, c.q)
		if c.want == "" {
			reason, message := readyWords(t, w.awaitBackup(c.name, v1alpha1.BackupFailed))
			require.Equal(t, v1alpha1.ReasonQuiesceFailed, reason, c.name)
			require.Contains(t, message, c.says, c.name)
			continue
		}
		b := w.awaitBackup(c.name, v1alpha1.BackupReady)
		require.Equal(t, c.want, b.Status.Consistency, "%s: %s", c.name, b.Status.ConsistencyMessage)
		require.Contains(t, b.Status.ConsistencyMessage, c.says, c.name)
	}
	spoil("")
	w.awaitWrites("vm")
	w.nothingLeft()
}

// awaitWrites waits until a guest writes.
func (w *world) awaitWrites(vm string) {
	w.t.Helper()
	before := w.guestSequence(vm)
	w.eventually("the guest of "+vm+" to write", func() (bool, string) {
		now := w.guestSequence(vm)
		return now > before, fmt.Sprint(now)
	})
}

// guestSequence is the number of a running guest's last write.
func (w *world) guestSequence(vm string) (n int64) {
	w.t.Helper()
	for line := range strings.Lines(w.guest("status", vm)) {
		if _, err := fmt.Sscanf(strings.TrimSpace(line), `"sequence": %d`, &n); err == nil {
			return n
		}
	}
	return 0
}

// killedInFreeze: the agent dies before it could thaw the guest, and no other
// one lives that could. The guest thaws by itself; the next owner cuts anew.
func killedInFreeze(t *testing.T, s *harness.Stack) {
	w := bare(t, s)
	thaws := func(r harness.Request) bool { return r.Write() && strings.HasSuffix(r.Path, "/unfreeze") }
	killed := make(chan string, len(s.Nodes))
	for _, n := range s.Nodes {
		p := harness.NewProxy(t, s.Config)
		w.startAgent(n.Name, harness.ProgramOptions{Kubeconfig: p.Kubeconfig(t, s.Kubeconfigs["agent-"+n.Name])})
		p.InterruptAt(1, harness.BeforeWrite, thaws, func() {
			w.agents[n.Name].Kill(t)
			killed <- n.Name
		})
	}
	w.startCoordinator("coordinator-1", harness.ProgramOptions{})
	w.writingVM("vm", map[string]string{withAgent: "connected"})
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, "point"
	b.Spec = v1alpha1.VMBackupSpec{VM: "vm", Target: w.Target, Quiesce: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, DeadlineSeconds: 10}}
	require.NoError(t, w.c.Create(w.ctx, b))
	dead := <-killed
	for node, a := range w.agents {
		if node != dead {
			a.Kill(t)
		}
	}
	w.eventually("the guest to thaw by itself", func() (bool, string) {
		all := strings.Join(w.freezes("vm"), "; ")
		return strings.Contains(all, "timeout=10s byTimeout=true"), all
	})
	w.awaitWrites("vm")

	for _, n := range s.Nodes {
		w.startAgent(n.Name, harness.ProgramOptions{})
	}
	b = w.awaitBackup("point", v1alpha1.BackupReady)
	require.Equal(t, v1alpha1.ConsistencyFrozen, b.Status.Consistency, b.Status.ConsistencyMessage)
	r := w.restoreHalted("r", "point", "copy")
	first, second := w.sequence(r["root"]), w.sequence(r["data1"])
	require.LessOrEqual(t, second, first)
	require.LessOrEqual(t, first-second, int64(1))
	w.awaitWrites("vm")
	w.nothingLeft()
}
