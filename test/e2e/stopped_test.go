package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// TestStoppedVM backs up VMs whose volumes are detached, and VMs that start and
// stop meanwhile. Its cases are those of Harvester's test plan for Longhorn's
// attaching and detaching. All volumes are migratable, as Harvester's are.
func TestStoppedVM(t *testing.T) {
	t.Parallel()
	s := slowStack(t)
	t.Run("case 3 backup of a stopped VM", func(t *testing.T) { stoppedBackup(t, s) })
	t.Run("case 4 many backups of a stopped VM in a short time", func(t *testing.T) { manyBackups(t, s) })
	t.Run("case 4 many backups of a VM that is started and stopped meanwhile", func(t *testing.T) { manyBackupsMeanwhile(t, s) })
}

// TestStartAndStopDuringBackup has workloads want, take and leave volumes in the
// middle of a backup.
func TestStartAndStopDuringBackup(t *testing.T) {
	t.Parallel()
	s := slowStack(t)
	t.Run("VM starts on the node of the transfer", func(t *testing.T) {
		startsInTime(t, func(t *testing.T) (unaided, during time.Duration) { return startsDuringBackup(t, s, true) })
	})
	t.Run("VM starts on another node", func(t *testing.T) {
		startsInTime(t, func(t *testing.T) (unaided, during time.Duration) { return startsDuringBackup(t, s, false) })
	})
	t.Run("VM stops", func(t *testing.T) { stopsDuringBackup(t, s) })
	t.Run("VM starts and stops during cuts", func(t *testing.T) { startsDuringCut(t, s) })
	t.Run("agent that holds a ticket is killed", func(t *testing.T) {
		startsInTime(t, func(t *testing.T) (unaided, during time.Duration) { return killedWithTicket(t, s) })
	})
}

const (
	// startAllowance is how much later than unaided a VM may run that starts while
	// its backup runs.
	startAllowance = 10 * time.Second
	// startTries is how often that is measured, at most. A machine that others use
	// may spoil one measurement; a VM that is kept waiting for is so each time.
	startTries = 3
)

// startsInTime compares a start during a backup with an unaided one right before.
func startsInTime(t *testing.T, measure func(t *testing.T) (unaided, during time.Duration)) {
	var unaided, during time.Duration
	for try := range startTries {
		t.Run(fmt.Sprintf("measured %d", try+1), func(t *testing.T) {
			unaided, during = measure(t)
			t.Logf("delay to Running: %s unaided, %s during a backup", unaided.Round(time.Millisecond), during.Round(time.Millisecond))
		})
		if t.Failed() || during <= unaided+startAllowance {
			return
		}
	}
	t.Errorf("each of %d times the VM ran more than %s later than unaided, the last time after %s instead of %s", startTries, startAllowance, during, unaided)
}

// slowStack takes as long for attaching and detaching as the real Longhorn, so
// that there is time for others in between.
func slowStack(t testing.TB) *harness.Stack {
	t.Helper()
	return harness.NewStack(t, harness.StackOptions{RealTiming: true})
}

func stoppedBackup(t *testing.T, s *harness.Stack) {
	w := newWorld(t, s)
	w.stoppedVM("vm", 32*mib, 16*mib)
	sums := map[string]string{"root": w.sha256("vm-root"), "data1": w.sha256("vm-data1")}
	w.backup("point", "vm")
	w.awaitTicket("vm-root")
	w.awaitBackup("point", v1alpha1.BackupReady)
	w.awaitDetached("vm-root", "vm-data1")
	w.nothingLeft()
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.awaitDetached("vm-root", "vm-data1")
}

const many = 20

func manyBackups(t *testing.T, s *harness.Stack) {
	w := newWorld(t, s)
	w.stoppedVM("vm", 16*mib)
	sums := map[string]string{"root": w.sha256("vm-root")}
	began := time.Now()
	for i := range many {
		w.backup(fmt.Sprintf("point-%d", i), "vm")
	}
	for i := range many {
		w.awaitBackup(fmt.Sprintf("point-%d", i), v1alpha1.BackupReady)
	}
	t.Logf("%d backups of a stopped VM at once: %s", many, time.Since(began).Round(time.Millisecond))
	w.awaitDetached("vm-root")
	w.nothingLeft()
	for _, i := range []int{0, many / 2, many - 1} {
		name := fmt.Sprintf("copy-%d", i)
		w.restore(name, fmt.Sprintf("point-%d", i), name)
	}
	for _, i := range []int{0, many / 2, many - 1} {
		w.sameDisks(w.awaitRestore(fmt.Sprintf("copy-%d", i), v1alpha1.RestoreReady), sums)
	}
}

func manyBackupsMeanwhile(t *testing.T, s *harness.Stack) {
	w := newWorld(t, s)
	w.stoppedVM("vm", 16*mib)
	ready := func() (n int) {
		for i := range many {
			if w.pointNow(fmt.Sprintf("point-%d", i)).Status.Phase == v1alpha1.BackupReady {
				n++
			}
		}
		return n
	}
	for i := range many {
		w.backup(fmt.Sprintf("point-%d", i), "vm")
	}
	for round := 0; round < 10 && ready() < many; round++ {
		w.start("vm", s.Nodes[round%len(s.Nodes)].Name)
		w.awaitRunning("vm")
		w.stop("vm")
		w.awaitStopped("vm")
	}
	for i := range many {
		w.awaitBackup(fmt.Sprintf("point-%d", i), v1alpha1.BackupReady)
	}
	w.awaitDetached("vm-root")
	w.nothingLeft()
	// What a guest had written when a point was cut nobody knows; all before the
	// part in which it writes is as it was.
	w.restore("r", fmt.Sprintf("point-%d", many-1), "copy")
	w.awaitRestore("r", v1alpha1.RestoreReady)
	require.Equal(t, w.disk("sha256", "vm-root", "--length", fmt.Sprint(8*mib)), w.disk("sha256", "copy-root", "--length", fmt.Sprint(8*mib)))
}

// startsDuringBackup starts a VM while its transfer is in the middle: on the
// node where its volume is attached for the transfer, or elsewhere.
func startsDuringBackup(t *testing.T, s *harness.Stack, same bool) (unaided, during time.Duration) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.stoppedVM("vm", 64*mib)
	volume := w.volumeOf("vm-root")
	unaided = w.unaidedStart("vm")
	sums := map[string]string{"root": w.sha256("vm-root")}

	release := g.holdWrites(4)
	w.backupTo(g.target, "point", "vm")
	ticket := w.awaitTicket("vm-root")
	w.eventually("the transfer to be in its middle", func() (bool, string) { return g.stops(".blk") > 0, "not yet" })
	node := ticket.NodeID
	if !same {
		node = other(s, node)
	}
	during = w.startTime("vm", node)
	w.eventually("our ticket to be gone", func() (bool, string) { return w.ourTicket("vm-root") == nil, "still there" })
	release()

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	if same {
		require.EqualValues(t, 1, b.Status.Disks[0].Attempt, "the transfer went on beside the guest")
	} else {
		require.Greater(t, b.Status.Disks[0].Attempt, int32(1), "the engine of the transfer was ended")
	}
	require.Nil(t, w.ourTicket("vm-root"), "no ticket on a volume that a VM uses")
	_, again := g.blockWrites(volume)
	require.Zero(t, again, "blocks that were uploaded twice")
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
	return unaided, during
}

func stopsDuringBackup(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.runningVM("vm", 64*mib)
	sums := w.quietHashes("vm", "root")
	volume := w.volumeOf("vm-root")
	release := g.holdWrites(4)
	w.backupTo(g.target, "point", "vm")
	w.eventually("the transfer to be in its middle", func() (bool, string) { return g.stops(".blk") > 0, "not yet" })
	require.Nil(t, w.ourTicket("vm-root"), "no ticket on a volume that a VM uses")
	w.stop("vm")
	w.awaitStopped("vm")
	first := w.awaitJob("backup", plainlyDone)
	require.Equal(t, v1alpha1.ReasonVolumeWanted, first.Status.Reason, first.Status.Message)
	require.True(t, first.Status.Retryable)
	w.awaitTicket("vm-root")
	release()

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	require.Greater(t, b.Status.Disks[0].Attempt, int32(1))
	_, again := g.blockWrites(volume)
	require.Zero(t, again, "blocks that were uploaded twice")
	w.awaitDetached("vm-root")
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
}

// startsDuringCut makes points of a VM that starts and stops at once, so that
// its volumes come and go while they are being attached and cut.
func startsDuringCut(t *testing.T, s *harness.Stack) {
	w := kitWorld(t, s)
	w.stoppedVM("vm", 16*mib, 16*mib)
	for round := range 3 {
		point := fmt.Sprintf("point-%d", round)
		w.backup(point, "vm")
		w.awaitJob("cut", func(j v1alpha1.NodeJob) bool { return j.Status.State == v1alpha1.JobRunning || plainlyDone(j) })
		w.start("vm", s.Nodes[round%len(s.Nodes)].Name)
		w.awaitRunning("vm")
		w.stop("vm")
		w.awaitStopped("vm")
		b := w.awaitBackup(point, v1alpha1.BackupReady)
		require.NotNil(t, b.Status.CutAt)
	}
	w.awaitDetached("vm-root", "vm-data1")
	w.nothingLeft()
}

// killedWithTicket kills every agent, so that nobody is left who would adopt
// the job: only the leader can take the ticket out of the VM's way.
func killedWithTicket(t *testing.T, s *harness.Stack) (unaided, during time.Duration) {
	w := kitWorld(t, s)
	g := w.kitGate()
	w.stoppedVM("vm", 64*mib)
	unaided = w.unaidedStart("vm")
	sums := map[string]string{"root": w.sha256("vm-root")}
	release := g.holdWrites(4)
	w.backupTo(g.target, "point", "vm")
	ticket := w.awaitTicket("vm-root")
	w.eventually("the transfer to be in its middle", func() (bool, string) { return g.stops(".blk") > 0, "not yet" })
	for _, a := range w.agents {
		a.Kill(t)
	}
	during = w.startTime("vm", other(s, ticket.NodeID))
	w.eventually("the dead agent's ticket to be gone", func() (bool, string) { return w.ourTicket("vm-root") == nil, "still there" })
	w.stop("vm")
	w.awaitStopped("vm")
	w.awaitDetached("vm-root")
	release()

	for _, n := range s.Nodes {
		w.startAgent(n.Name, harness.ProgramOptions{Args: []string{"--lost-limit", kitLostLimit.String()}})
	}
	w.awaitBackup("point", v1alpha1.BackupReady)
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.awaitDetached("vm-root")
	w.nothingLeft()
	return unaided, during
}

// start has a VM start on a node.
func (w *world) start(vm, node string) {
	w.t.Helper()
	w.patch(w.vmNamed(vm), fmt.Sprintf(`{"spec":{"runStrategy":"Always","template":{"spec":{"nodeSelector":{%q:%q}}}}}`, corev1.LabelHostname, node))
}

func (w *world) stop(vm string) {
	w.t.Helper()
	w.patch(w.vmNamed(vm), `{"spec":{"runStrategy":"Halted"}}`)
}

func (w *world) vmNamed(name string) *kubevirt.VirtualMachine {
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = w.ns, name
	return vm
}

// startTime starts a VM on a node and tells how long it took until it ran.
func (w *world) startTime(vm, node string) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.start(vm, node)
	w.awaitRunning(vm)
	return time.Since(began)
}

// unaidedStart is how long a stopped VM takes to run while nobody backs it up. It
// is stopped again, and its volumes are detached.
func (w *world) unaidedStart(vm string) time.Duration {
	w.t.Helper()
	took := w.startTime(vm, w.Nodes[0].Name)
	w.stop(vm)
	w.awaitStopped(vm)
	w.awaitDetached(vm + "-root")
	return took
}

// ourTicket is the ticket of ours on the volume of a claim, nil without one.
func (w *world) ourTicket(claim string) *longhorn.AttachmentTicket {
	w.t.Helper()
	var va longhorn.VolumeAttachment
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: w.volumeOf(claim)}, &va))
	for id, ticket := range va.Spec.AttachmentTickets {
		if strings.HasPrefix(id, names.TicketPrefix) {
			return ticket
		}
	}
	return nil
}

func (w *world) awaitTicket(claim string) (ticket *longhorn.AttachmentTicket) {
	w.t.Helper()
	w.eventually("a ticket of ours on "+claim, func() (bool, string) {
		ticket = w.ourTicket(claim)
		return ticket != nil, "none"
	})
	return ticket
}

// other is a node that is not the given one.
func other(s *harness.Stack, node string) string {
	for _, n := range s.Nodes {
		if n.Name != node {
			return n.Name
		}
	}
	return ""
}
