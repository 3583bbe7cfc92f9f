package longhorn_test

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/longhorn/condition"
	"hayloft.dev/deploy/local/longhorn/instance"
)

func TestNewVolumeHasItsObjects(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, func(v *lh.Volume) { v.Spec.Size = 64*mib - 1 })

	require.EqualValues(t, 64*mib, vol.Spec.Size, "rounded up to 2 MiB")
	require.Equal(t, lh.DataEngineTypeV1, vol.Spec.DataEngine)
	require.Equal(t, []string{"longhorn.io"}, vol.Finalizers)
	require.Equal(t, lh.ConditionStatusTrue, condition.Get(vol.Status.Conditions, lh.VolumeConditionTypeScheduled).Status)
	require.Equal(t, lh.VolumeRobustnessUnknown, vol.Status.Robustness)

	e := s.engine(t, vol.Name)
	require.Equal(t, vol.UID, e.OwnerReferences[0].UID)
	require.Equal(t, lh.InstanceStateStopped, e.Spec.DesireState)
	nodes := map[string]bool{}
	for _, r := range s.replicas(t, vol.Name) {
		require.Regexp(t, "^"+vol.Name+"-r-[0-9a-f]{8}$", r.Name)
		require.Equal(t, e.Name, r.Spec.EngineName)
		nodes[r.Spec.NodeID] = true
	}
	require.Len(t, nodes, 2, "replicas are on distinct nodes")
	require.Empty(t, s.processes(vol.Name))
}

func TestAttachAndDetachByTicket(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)

	began := time.Now()
	s.ticket(t, vol.Name, "backup-controller-a", "node-3", lh.AttacherTypeBackupController, lh.AnyValue)
	s.waitSatisfied(t, vol.Name, "backup-controller-a")
	t.Logf("attached in %s", time.Since(began))

	attached := s.waitVolume(t, vol.Name, "attached", func(v *lh.Volume) bool { return v.Status.State == lh.VolumeStateAttached })
	require.Equal(t, "node-3", attached.Spec.NodeID)
	require.Equal(t, "node-3", attached.Status.CurrentNodeID)
	require.Equal(t, lh.VolumeRobustnessHealthy, attached.Status.Robustness)
	e := s.engine(t, vol.Name)
	require.Equal(t, lh.InstanceStateRunning, e.Status.CurrentState)
	require.Equal(t, "127.0.0.53", e.Status.StorageIP)
	require.Equal(t, instance.SocketPath(vol.Name), e.Status.Endpoint, `"any" brings the front end up`)
	require.Len(t, e.Status.CurrentReplicaAddressMap, 2)
	for _, r := range s.replicas(t, vol.Name) {
		require.Equal(t, lh.ReplicaModeRW, e.Status.ReplicaModeMap[r.Name])
		require.Equal(t, lh.InstanceStateRunning, r.Status.CurrentState)
		require.Equal(t, net.JoinHostPort(r.Status.StorageIP, strconv.Itoa(r.Status.Port)), e.Status.CurrentReplicaAddressMap[r.Name])
	}
	require.Len(t, s.processes(vol.Name), 3)

	began = time.Now()
	s.dropTicket(t, vol.Name, "backup-controller-a")
	s.waitDetached(t, vol.Name)
	t.Logf("detached in %s", time.Since(began))
	e = s.engine(t, vol.Name)
	require.Equal(t, lh.InstanceStateStopped, e.Status.CurrentState)
	require.Zero(t, e.Status.Port)
	require.Empty(t, e.Status.ReplicaModeMap)
	require.Empty(t, s.processes(vol.Name))
	require.NoFileExists(t, instance.SocketPath(vol.Name))
}

func TestFrontendParameter(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "restore", "node-1", "hayloft", lh.TrueValue)
	s.waitSatisfied(t, vol.Name, "restore")
	require.Empty(t, s.engine(t, vol.Name).Status.Endpoint)
	require.NoFileExists(t, instance.SocketPath(vol.Name))

	s.ticket(t, vol.Name, "any", "node-1", "hayloft", lh.AnyValue)
	s.waitSatisfied(t, vol.Name, "any")
	s.ticket(t, vol.Name, "workload", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitTicket(t, vol.Name, "workload", "refused", func(st *lh.AttachmentTicketStatus) bool {
		return !st.Satisfied && condition.Get(st.Conditions, lh.AttachmentStatusConditionTypeSatisfied).Reason ==
			lh.AttachmentStatusConditionReasonAttachedWithIncompatibleParameters
	})

	// A changed ticket has another generation, and its status follows.
	s.ticket(t, vol.Name, "workload", "node-1", lh.AttacherTypeCSIAttacher, lh.TrueValue)
	s.waitSatisfied(t, vol.Name, "workload")
	va := &lh.VolumeAttachment{}
	require.NoError(t, s.Get(t.Context(), key(vol.Name), va))
	require.Positive(t, va.Spec.AttachmentTickets["workload"].Generation)

	// The front end is on again for the next one who says nothing.
	for _, id := range []string{"restore", "any", "workload"} {
		s.dropTicket(t, vol.Name, id)
	}
	s.waitDetached(t, vol.Name)
	s.ticket(t, vol.Name, "workload", "node-2", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "workload")
	require.NotEmpty(t, s.engine(t, vol.Name).Status.Endpoint)
}

func TestWorkloadEvictsBackupFromAnotherNode(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "backup", "node-1", lh.AttacherTypeBackupController, lh.AnyValue)
	s.waitSatisfied(t, vol.Name, "backup")

	s.ticket(t, vol.Name, "csi", "node-2", lh.AttacherTypeCSIAttacher, lh.FalseValue)
	s.waitSatisfied(t, vol.Name, "csi")
	require.Equal(t, "127.0.0.52", s.engine(t, vol.Name).Status.IP)
	s.waitTicket(t, vol.Name, "backup", "unsatisfied", func(st *lh.AttachmentTicketStatus) bool { return !st.Satisfied })
}

// So it goes with the disks of a stopped VM that is started elsewhere while its backup runs.
func TestWorkloadEvictsBackupOfAMigratableVolume(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, func(v *lh.Volume) { v.Spec.Migratable, v.Spec.AccessMode = true, lh.AccessModeReadWriteMany })
	s.ticket(t, vol.Name, "backup", "node-1", lh.AttacherTypeBackupController, lh.AnyValue)
	s.waitSatisfied(t, vol.Name, "backup")
	s.ticket(t, vol.Name, "csi", "node-2", lh.AttacherTypeCSIAttacher, lh.FalseValue)
	s.waitSatisfied(t, vol.Name, "csi")
	s.waitTicket(t, vol.Name, "backup", "unsatisfied", func(st *lh.AttachmentTicketStatus) bool {
		return !st.Satisfied && strings.Contains(condition.Get(st.Conditions, lh.AttachmentStatusConditionTypeSatisfied).Message, "different node node-2")
	})
	require.Empty(t, s.waitVolume(t, vol.Name, "there", func(*lh.Volume) bool { return true }).Spec.MigrationNodeID)
	// The ticket stays, and what is left of it counts.
	require.ErrorContains(t, s.tryTicket(t, vol.Name, "other", "node-3", lh.AttacherTypeCSIAttacher, lh.FalseValue), "more than two nodes")
}

func TestWorkloadComesToABackupOnItsNode(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "backup", "node-1", lh.AttacherTypeBackupController, lh.AnyValue)
	s.waitSatisfied(t, vol.Name, "backup")
	before := s.engine(t, vol.Name)
	require.NotEmpty(t, before.Status.Endpoint)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, lh.FalseValue)
	s.waitSatisfied(t, vol.Name, "csi")
	s.dropTicket(t, vol.Name, "backup")
	s.waitSatisfied(t, vol.Name, "csi")
	after := s.engine(t, vol.Name)
	require.Equal(t, before.Status.Port, after.Status.Port, "nothing was attached anew")
	require.Equal(t, before.Status.Endpoint, after.Status.Endpoint)
}

func TestOtherTicketsAreNotEvicted(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "own", "node-1", "hayloft", lh.AnyValue)
	s.waitSatisfied(t, vol.Name, "own")
	s.ticket(t, vol.Name, "csi", "node-2", lh.AttacherTypeCSIAttacher, "-")
	s.waitTicket(t, vol.Name, "csi", "told why", func(st *lh.AttachmentTicketStatus) bool {
		return condition.Get(st.Conditions, lh.AttachmentStatusConditionTypeSatisfied).Message != ""
	})
	s.waitSatisfied(t, vol.Name, "own")
	s.dropTicket(t, vol.Name, "own")
	s.waitSatisfied(t, vol.Name, "csi")
}

func TestMigratableVolumeTakesTwoTickets(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, func(v *lh.Volume) {
		v.Spec.Migratable, v.Spec.AccessMode = true, lh.AccessModeReadWriteMany
	})
	s.ticket(t, vol.Name, "a", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "a")
	s.ticket(t, vol.Name, "b", "node-2", lh.AttacherTypeCSIAttacher, "-")
	require.ErrorContains(t, s.tryTicket(t, vol.Name, "c", "node-3", lh.AttacherTypeBackupController, lh.AnyValue), "more than two nodes")

	s.dropTicket(t, vol.Name, "b")
	s.dropTicket(t, vol.Name, "a")
	s.waitDetached(t, vol.Name)
	// Without a node to go to, the ticket keeps the volume detached.
	s.ticket(t, vol.Name, "lost", "node-9", lh.AttacherTypeCSIAttacher, "-")
	require.ErrorContains(t, s.tryTicket(t, vol.Name, "c", "node-3", lh.AttacherTypeBackupController, lh.AnyValue), "to a second node while it is in state")
}

func TestDeletionLeavesNothing(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	var dirs []string
	for _, r := range s.replicas(t, vol.Name) {
		dir := r.Spec.DiskPath + "/replicas/" + r.Spec.DataDirectoryName
		require.DirExists(t, dir)
		dirs = append(dirs, dir)
	}
	s.deleteVolume(t, vol.Name)
	require.Empty(t, s.processes(vol.Name))
	for _, dir := range dirs {
		require.NoDirExists(t, dir)
	}
	require.NoFileExists(t, instance.SocketPath(vol.Name))
	for _, kind := range []client.ObjectList{&lh.EngineList{}, &lh.ReplicaList{}, &lh.VolumeAttachmentList{}, &lh.SnapshotList{}} {
		require.NoError(t, poll(t.Context(), func() bool {
			err := s.List(t.Context(), kind, client.InNamespace(namespace), client.MatchingLabels{"longhornvolume": vol.Name})
			return err == nil && count(kind) == 0
		}), "%T", kind)
	}
}

func count(list client.ObjectList) int {
	switch l := list.(type) {
	case *lh.EngineList:
		return len(l.Items)
	case *lh.ReplicaList:
		return len(l.Items)
	case *lh.VolumeAttachmentList:
		return len(l.Items)
	case *lh.SnapshotList:
		return len(l.Items)
	}
	return -1
}

func TestRefusedVolumes(t *testing.T) {
	s := theStack(t)
	t.Run("data engine v2 stays detached", func(t *testing.T) {
		vol := s.volume(t, func(v *lh.Volume) { v.Spec.DataEngine = lh.DataEngineTypeV2 })
		scheduled := condition.Get(vol.Status.Conditions, lh.VolumeConditionTypeScheduled)
		require.Equal(t, lh.ConditionStatusFalse, scheduled.Status)
		require.Contains(t, scheduled.Message, "v2")
		s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
		s.waitTicket(t, vol.Name, "csi", "unsatisfied", func(st *lh.AttachmentTicketStatus) bool { return !st.Satisfied })
		require.Empty(t, s.processes(vol.Name))
	})
	t.Run("too large for every disk", func(t *testing.T) {
		vol := s.volume(t, func(v *lh.Volume) { v.Spec.Size = 4 << 40 })
		scheduled := condition.Get(vol.Status.Conditions, lh.VolumeConditionTypeScheduled)
		require.Equal(t, lh.ConditionStatusFalse, scheduled.Status)
		require.Equal(t, lh.VolumeConditionReasonReplicaSchedulingFailure, scheduled.Reason)
		s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
		s.waitTicket(t, vol.Name, "csi", "unsatisfied", func(st *lh.AttachmentTicketStatus) bool { return !st.Satisfied })
		require.Equal(t, lh.VolumeStateDetached, s.waitVolume(t, vol.Name, "there", func(*lh.Volume) bool { return true }).Status.State)
	})
	t.Run("by the webhook", func(t *testing.T) {
		vol := &lh.Volume{}
		vol.Namespace, vol.Name = namespace, name(t)
		vol.Spec = lh.VolumeSpec{Size: 64 * mib, Frontend: lh.VolumeFrontendBlockDev, BackingImage: "nowhere"}
		require.ErrorContains(t, s.Create(t.Context(), vol), "nowhere")
	})
}

func TestFixedObjects(t *testing.T) {
	s := theStack(t)
	var nodes lh.NodeList
	require.NoError(t, s.List(t.Context(), &nodes, client.InNamespace(namespace)))
	require.Len(t, nodes.Items, 3)
	for _, n := range nodes.Items {
		require.Equal(t, lh.ConditionStatusTrue, condition.Get(n.Status.Conditions, lh.NodeConditionTypeReady).Status)
		for _, disk := range n.Spec.Disks {
			info, err := os.Stat(disk.Path)
			require.NoError(t, err)
			require.True(t, info.IsDir())
		}
	}
	var managers lh.InstanceManagerList
	require.NoError(t, s.List(t.Context(), &managers, client.InNamespace(namespace)))
	require.Len(t, managers.Items, 3)
	for _, m := range managers.Items {
		require.NotEmpty(t, m.Status.IP)
		require.Equal(t, lh.InstanceManagerStateRunning, m.Status.CurrentState)
	}
	setting := &lh.Setting{}
	require.NoError(t, s.Get(t.Context(), key("snapshot-max-count"), setting))
	require.Equal(t, "250", setting.Value)
}
