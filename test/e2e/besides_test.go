package e2e

import (
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/containertest"
	"hayloft.dev/test/harness"
)

// besideVM: a pod that has a claim of a paused VM mounted is paused with it.
func besideVM(w *world, ctrd *containertest.Containerd, writer string, relay *relay, agents func(nodes ...string)) {
	must := v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, Method: v1alpha1.QuiescePause, DeadlineSeconds: 60}
	maint := w.maintenance(ctrd, writer, "maint", "vm-data1")

	w.t.Log("a pod that has a claim of the VM mounted")
	stood := false
	struck := relay.onPaused(func() { stood = maint.Paused() })
	w.snapshotOf("beside", "vm", must)
	<-struck
	require.True(w.t, stood, "the pod's container is paused with the VM's")
	w.besides("beside", v1alpha1.ConsistencyPaused, "what else has its disks mounted was paused: container sh of pod maint")
	maint.AwaitWrites()

	w.t.Log("kill -9 of every agent while both stand still")
	struck = relay.onPaused(func() {
		for _, a := range w.agents {
			a.Kill(w.t)
		}
	})
	w.snapshotOf("beside-killed", "vm", must)
	<-struck
	maint.AwaitWrites()
	w.awaitWrites("vm")
	agents()
	w.besides("beside-killed", v1alpha1.ConsistencyPaused, "pod maint")

	w.t.Log("a pod that cannot be paused")
	maint.Pause()
	w.snapshotOf("beside-stubborn", "vm", v1alpha1.Quiesce{DeadlineSeconds: 60})
	w.besides("beside-stubborn", v1alpha1.ConsistencyQuiesceFailed, "container sh of pod maint: container ")
	w.awaitWrites("vm")
	require.True(w.t, maint.Paused(), "what somebody else has paused stays so")
	require.NoError(w.t, maint.Task.Resume(w.t.Context()))
}

// besideOthers: pods that have claims of a VM mounted whose guest is frozen, or which is
// stopped.
func besideOthers(w *world, ctrd *containertest.Containerd, writer string, agents func(nodes ...string)) {
	w.t.Log("beside a guest that is frozen")
	w.writingVM("asked", map[string]string{withAgent: "connected"})
	copier := w.maintenance(ctrd, writer, "copier", "asked-data1")
	w.snapshotOf("frozen-beside", "asked", v1alpha1.Quiesce{DeadlineSeconds: 60})
	w.besides("frozen-beside", v1alpha1.ConsistencyFrozen, "what else has its disks mounted was paused: container sh of pod copier")
	require.Len(w.t, w.freezes("asked"), 1)
	copier.AwaitWrites()
	w.snapshotOf("frozen-required", "asked", v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired})
	w.besides("frozen-required", v1alpha1.ConsistencyFrozen, "")

	w.t.Log("of a VM that is stopped")
	must := v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, Method: v1alpha1.QuiescePause, DeadlineSeconds: 60}
	w.stoppedVM("off", 16*mib)
	w.snapshotOf("off-alone", "off", must)
	w.besides("off-alone", v1alpha1.ConsistencyOffline, "")
	node := w.Nodes[0].Name
	w.ask("off-root", node)
	mender := w.maintenance(ctrd, writer, "mender", "off-root")
	w.snapshotOf("off-beside", "off", must)
	w.besides("off-beside", v1alpha1.ConsistencyPaused, "the VM does not run; what else has its disks mounted was paused: container sh of pod mender")
	require.NotNil(w.t, w.pointNow("off-beside").Status.FrozenMilliseconds)
	mender.AwaitWrites()

	w.t.Log("the agent of its node is away")
	w.agents[node].Kill(w.t)
	w.snapshotOf("off-afar", "off", must)
	w.eventually("an agent of another node to wait", func() (bool, string) {
		said := conditionText(w.pointNow("off-afar").Status.Conditions, v1alpha1.ConditionProgressing)
		return strings.Contains(said, "what has the disks of VM "+w.ns+"/off is on node "+node+", and only the agent there can pause that"), said
	})
	agents()
	w.besides("off-afar", v1alpha1.ConsistencyPaused, "pod mender")
	mender.AwaitWrites()
	w.ask("off-root", "")
}

// maintenance starts a container of a pod that has a claim mounted.
func (w *world) maintenance(ctrd *containertest.Containerd, writer, name, claim string) *containertest.Container {
	w.t.Helper()
	c := &corev1.PersistentVolumeClaim{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: claim}, c))
	return ctrd.Start(w.t, writer, name, containertest.Pod{
		Namespace: w.ns, Name: name, UID: "uid-of-" + name, Container: "sh", Volumes: []string{c.Spec.VolumeName},
	})
}

// besides waits for a point and what it says of its disks.
func (w *world) besides(point string, want v1alpha1.Consistency, says string) {
	w.t.Helper()
	b := w.awaitBackup(point, v1alpha1.BackupReady)
	require.Equal(w.t, want, b.Status.Consistency, b.Status.ConsistencyMessage)
	require.Contains(w.t, b.Status.ConsistencyMessage, says)
	if says == "" {
		require.Empty(w.t, b.Status.ConsistencyMessage)
	}
}

// ask has a claim's volume attached to a node as Kubernetes does for a pod; to none: it
// is not asked for any more.
func (w *world) ask(claim, node string) {
	w.t.Helper()
	c := &corev1.PersistentVolumeClaim{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: claim}, c))
	require.NoError(w.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		va := &longhorn.VolumeAttachment{}
		if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: c.Spec.VolumeName}, va); err != nil {
			return err
		}
		const id = "csi-of-a-pod"
		if va.Spec.AttachmentTickets == nil {
			va.Spec.AttachmentTickets = map[string]*longhorn.AttachmentTicket{}
		}
		if va.Spec.AttachmentTickets[id] = (&longhorn.AttachmentTicket{
			ID: id, Type: longhorn.AttacherTypeCSIAttacher, NodeID: node,
			Parameters: map[string]string{longhorn.AttachmentParameterDisableFrontend: longhorn.FalseValue},
		}); node == "" {
			delete(va.Spec.AttachmentTickets, id)
		}
		return w.c.Update(w.ctx, va)
	}))
}
