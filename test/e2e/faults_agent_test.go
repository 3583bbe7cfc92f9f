package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// TestAgentFaults kills and freezes agents at work. Whatever happens, the point
// or the restored VM comes out whole and nothing is left over.
func TestAgentFaults(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	t.Run("killed in a backup, another node's agent adopts the transfer", func(t *testing.T) { killedInBackup(t, s, false) })
	t.Run("killed in a backup and started again", func(t *testing.T) { killedInBackup(t, s, true) })
	t.Run("killed between the cuts of two disks", func(t *testing.T) { killedBetweenCuts(t, s) })
	t.Run("killed in a restore", func(t *testing.T) { killedInRestore(t, s) })
	t.Run("frozen for three lease durations", func(t *testing.T) { frozen(t, s) })
	t.Run("cut off the API server in a backup", func(t *testing.T) { cutOff(t, s) })
}

func killedInBackup(t *testing.T, s *harness.Stack, restart bool) {
	w := newWorld(t, s)
	w.runningVM("vm", 256*mib)
	sums := w.quietHashes("vm", "root")
	w.backup("point", "vm")
	job := w.awaitTransfer("backup")
	w.agents[job.Spec.NodeName].Kill(t)
	if restart {
		w.startAgent(job.Spec.NodeName, harness.ProgramOptions{})
	}

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	require.EqualValues(t, 1, b.Status.Disks[0].Attempt, "the transfer that ran was adopted, not begun again")
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
}

// killedBetweenCuts: the agent dies before it could tell of its cut, of which
// one disk is missing.
func killedBetweenCuts(t *testing.T, s *harness.Stack) {
	w := bare(t, s)
	tells := func(r harness.Request) bool { return r.Write() && strings.Contains(r.Path, "/nodejobs/cut-") }
	killed := make(chan string, len(s.Nodes))
	for _, n := range s.Nodes {
		p := harness.NewProxy(t, s.Config)
		w.startAgent(n.Name, harness.ProgramOptions{Kubeconfig: p.Kubeconfig(t, s.Kubeconfigs["agent-"+n.Name])})
		p.InterruptAt(2, harness.BeforeWrite, tells, func() { // the first one claims the job
			w.agents[n.Name].Kill(t)
			killed <- n.Name
		})
	}
	w.startCoordinator("coordinator-1", harness.ProgramOptions{})
	w.runningVM("vm", 32*mib, 32*mib)
	sums := w.quietHashes("vm", "root", "data1")
	point := w.backup("point", "vm")
	node := <-killed
	require.Len(t, w.ourSnapshots("vm-root"), 1, "it had cut")
	require.NoError(t, w.engineOf("vm-data1").RemoveSnapshot(w.ctx, names.Snapshot(point.UID, 1, "data1")))
	w.startAgent(node, harness.ProgramOptions{})

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	for _, d := range b.Status.Disks {
		require.Equal(t, names.Snapshot(b.UID, 2, d.Name), d.Snapshot, "the half cut does not count")
	}
	for _, claim := range []string{"vm-root", "vm-data1"} {
		require.Len(t, w.ourSnapshots(claim), 1, "the half cut's snapshot is gone from %s", claim)
	}
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
}

func killedInRestore(t *testing.T, s *harness.Stack) {
	w := newWorld(t, s)
	w.runningVM("vm", 256*mib)
	sums := w.quietHashes("vm", "root")
	w.backup("point", "vm")
	w.awaitBackup("point", v1alpha1.BackupReady)
	w.restore("r", "point", "copy")
	job := w.awaitTransfer("restore")
	w.eventually("every replica to restore", func() (bool, string) {
		replicas, err := w.engineOfVolume(job.Spec.Restore.Volume).RestoreStatus(w.ctx)
		for _, r := range replicas {
			if r.Current != job.Spec.Restore.Backup {
				return false, words(replicas)
			}
		}
		return err == nil && len(replicas) == 2, words(replicas)
	})
	w.agents[job.Spec.NodeName].Kill(t)

	r := w.awaitRestore("r", v1alpha1.RestoreReady)
	require.EqualValues(t, 1, r.Status.Disks[0].Attempt, "the restore that ran was adopted")
	w.sameDisks(r, sums)
	w.nothingLeft()
}

// frozen: the agent sleeps through its leases. When it wakes, another one has
// the volume, and what it goes on to say is refused.
func frozen(t *testing.T, s *harness.Stack) {
	w := newWorld(t, s)
	w.runningVM("vm", 256*mib)
	sums := w.quietHashes("vm", "root")
	w.backup("point", "vm")
	job := w.awaitTransfer("backup")
	sleeper := w.agents[job.Spec.NodeName]
	sleeper.Freeze(t)
	taken := w.awaitJob("backup", func(j v1alpha1.NodeJob) bool {
		return j.Status.Session != job.Status.Session || plainlyDone(j)
	})
	if taken.Status.Session == job.Status.Session {
		t.Fatalf("the job ended under the frozen agent: %s", words(taken.Status))
	}
	for volume, epoch := range taken.Status.Epochs {
		require.Greater(t, epoch, job.Status.Epochs[volume], "the new owner's epoch")
	}
	sleeper.Continue(t)

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	require.EqualValues(t, 1, b.Status.Disks[0].Attempt)
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
	require.True(t, sleeper.Running(), "the agent that was frozen lives on with a new session")
}

// cutOff: the agent loses the API server, and with it its session; the engine
// goes on and another agent sees it to its end.
func cutOff(t *testing.T, s *harness.Stack) {
	w := bare(t, s)
	proxies := map[string]*harness.Proxy{}
	for _, n := range s.Nodes {
		p := harness.NewProxy(t, s.Config)
		proxies[n.Name] = p
		w.startAgent(n.Name, harness.ProgramOptions{Kubeconfig: p.Kubeconfig(t, s.Kubeconfigs["agent-"+n.Name])})
	}
	w.startCoordinator("coordinator-1", harness.ProgramOptions{})
	w.runningVM("vm", 256*mib)
	sums := w.quietHashes("vm", "root")
	w.backup("point", "vm")
	job := w.awaitTransfer("backup")
	proxies[job.Spec.NodeName].Cut(true)

	b := w.awaitBackup("point", v1alpha1.BackupReady)
	require.EqualValues(t, 1, b.Status.Disks[0].Attempt)
	proxies[job.Spec.NodeName].Cut(false)
	w.restore("r", "point", "copy")
	w.sameDisks(w.awaitRestore("r", v1alpha1.RestoreReady), sums)
	w.nothingLeft()
}

func plainlyDone(j v1alpha1.NodeJob) bool {
	return j.Status.State == v1alpha1.JobSucceeded || j.Status.State == v1alpha1.JobFailed
}

// awaitJob waits for a job of a kind that this test's namespace owns.
func (w *world) awaitJob(kind string, ok func(v1alpha1.NodeJob) bool) v1alpha1.NodeJob {
	w.t.Helper()
	var found v1alpha1.NodeJob
	deadline := time.Now().Add(patience)
	for {
		var list v1alpha1.NodeJobList
		require.NoError(w.t, w.c.List(w.ctx, &list, client.InNamespace(harness.HayloftNamespace)))
		for _, j := range list.Items {
			if j.Spec.Owner.Namespace == w.ns && strings.HasPrefix(j.Name, kind+"-") && ok(j) {
				return j
			}
			found = j
		}
		require.False(w.t, time.Now().After(deadline), "waiting for a %s job; last seen: %s", kind, words(found))
		select {
		case <-w.ctx.Done():
			require.Fail(w.t, "the test ended", "waiting for a %s job", kind)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitTransfer waits until a job's data moves.
func (w *world) awaitTransfer(kind string) v1alpha1.NodeJob {
	w.t.Helper()
	before := w.blocks()
	job := w.awaitJob(kind, func(j v1alpha1.NodeJob) bool {
		return j.Status.State == v1alpha1.JobRunning && j.Status.Transfer != nil && j.Status.Transfer.Started
	})
	if kind == "backup" {
		w.eventually("blocks to arrive on the target", func() (bool, string) { return w.blocks() > before, "none yet" })
	}
	return job
}

// volumeOf is the Longhorn volume of a claim.
func (w *world) volumeOf(claim string) string {
	w.t.Helper()
	var c corev1.PersistentVolumeClaim
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: claim}, &c))
	var pv corev1.PersistentVolume
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Name: c.Spec.VolumeName}, &pv))
	return pv.Spec.CSI.VolumeHandle
}

// enginePID is the process of a claim's engine.
func (w *world) enginePID(claim string) int {
	w.t.Helper()
	found := w.ProcessesOf(w.t, "engine", "volume="+w.volumeOf(claim))
	require.Len(w.t, found, 1)
	return found[0].PID
}

// engineOf speaks to a claim's engine as an agent does.
func (w *world) engineOf(claim string) *engine.Engine {
	w.t.Helper()
	return w.engineOfVolume(w.volumeOf(claim))
}

func (w *world) engineOfVolume(volume string) *engine.Engine {
	w.t.Helper()
	a := &attach.Attacher{Client: w.c, Namespace: harness.LonghornNamespace}
	loc, err := a.Locate(w.ctx, volume)
	require.NoError(w.t, err)
	return engine.Open(engine.Address{Volume: loc.Volume, Instance: loc.Engine, Addr: loc.Address})
}

// ourSnapshots are the engine snapshots of ours that are not being removed.
func (w *world) ourSnapshots(claim string) (list []string) {
	w.t.Helper()
	all, err := w.engineOf(claim).Snapshots(w.ctx)
	require.NoError(w.t, err)
	for name, s := range all {
		if _, ours := names.SnapshotPoint(name); ours && !s.Removed {
			list = append(list, name)
		}
	}
	return list
}
