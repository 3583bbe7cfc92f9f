package longhorn_test

import (
	"bytes"
	"slices"
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/longhorn/types/pkg/generated/enginerpc"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/proc"
)

const (
	csi    = lh.AttacherTypeCSIAttacher
	backup = lh.AttacherTypeBackupController
)

// migratable makes a volume as Harvester's are, attached to node-1.
func (s *stack) migratable(t *testing.T) *lh.Volume {
	t.Helper()
	vol := s.volume(t, func(v *lh.Volume) {
		v.Spec.Migratable, v.Spec.AccessMode, v.Spec.RevisionCounterDisabled = true, lh.AccessModeReadWriteMany, true
	})
	s.ticket(t, vol.Name, "a", "node-1", csi, "false")
	s.waitSatisfied(t, vol.Name, "a")
	return vol
}

func (s *stack) engines(t *testing.T, vol string) []lh.Engine {
	t.Helper()
	var list lh.EngineList
	require.NoError(t, s.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{"longhornvolume": vol}))
	return list.Items
}

// waitMigrated waits until a volume has one engine, on a node.
func (s *stack) waitMigrated(t *testing.T, vol, node string) lh.Engine {
	t.Helper()
	s.waitVolume(t, vol, "on "+node, func(v *lh.Volume) bool {
		return v.Spec.NodeID == node && v.Spec.MigrationNodeID == "" && v.Status.State == lh.VolumeStateAttached &&
			v.Status.CurrentNodeID == node && v.Status.CurrentMigrationNodeID == "" && v.Status.Robustness == lh.VolumeRobustnessHealthy
	})
	engines := s.engines(t, vol)
	require.Len(t, engines, 1)
	require.True(t, engines[0].Spec.Active)
	require.Equal(t, node, engines[0].Spec.NodeID)
	require.Equal(t, instance.SocketPath(vol), engines[0].Status.Endpoint)
	replicas := s.replicas(t, vol)
	require.Len(t, replicas, 2)
	for _, r := range replicas {
		require.True(t, r.Spec.Active)
		require.Equal(t, engines[0].Name, r.Spec.EngineName)
	}
	require.Len(t, s.processes(vol), 3, "%+v", s.processes(vol))
	return engines[0]
}

func open(t *testing.T, vol *lh.Volume) *disk.Device {
	t.Helper()
	device, err := disk.Open(t.Context(), vol.Name, vol.Spec.Size)
	require.NoError(t, err)
	t.Cleanup(device.Close)
	return device
}

func fill(t *testing.T, device *disk.Device, offset int64, value byte) {
	t.Helper()
	_, err := device.WriteAt(bytes.Repeat([]byte{value}, mib), offset)
	require.NoError(t, err)
}

func requireFilled(t *testing.T, device *disk.Device, offset int64, value byte) {
	t.Helper()
	got := make([]byte, mib)
	_, err := device.ReadAt(got, offset)
	require.NoError(t, err)
	require.True(t, bytes.Equal(bytes.Repeat([]byte{value}, mib), got), "at %d there is not %d", offset, value)
}

func TestLiveMigration(t *testing.T) {
	s := theStack(t)
	vol := s.migratable(t)
	source := open(t, vol)
	fill(t, source, 0, 1)
	first := s.engine(t, vol.Name)
	dirs := func() (out []string) {
		for _, r := range s.replicas(t, vol.Name) {
			if r.Spec.Active {
				out = append(out, r.Spec.NodeID+"/"+r.Spec.DataDirectoryName)
			}
		}
		slices.Sort(out)
		return out
	}
	files := dirs()

	s.ticket(t, vol.Name, "b", "node-2", csi, "false")
	s.waitSatisfied(t, vol.Name, "b")
	s.waitSatisfied(t, vol.Name, "a")
	migrating := s.waitVolume(t, vol.Name, "migrating", func(v *lh.Volume) bool { return v.Status.CurrentMigrationNodeID == "node-2" })
	require.Equal(t, "node-2", migrating.Spec.MigrationNodeID)
	require.Equal(t, "node-1", migrating.Spec.NodeID)
	require.Equal(t, "node-1", migrating.Status.CurrentNodeID)
	require.Len(t, s.processes(vol.Name), 6, "each engine has replicas of its own")
	second := s.named(t, vol.Name+"-e-1")
	require.False(t, second.Spec.Active)
	require.Equal(t, "127.0.0.52", second.Status.StorageIP)
	require.NotEqual(t, s.engine(t, vol.Name).Status.Endpoint, second.Status.Endpoint)

	// The guest writes on the first node until it goes on on the second.
	target := open(t, vol)
	fill(t, source, 8*mib, 2)
	requireFilled(t, target, 0, 1)
	requireFilled(t, target, 8*mib, 2)
	fill(t, target, 16*mib, 3)

	s.dropTicket(t, vol.Name, "a")
	after := s.waitMigrated(t, vol.Name, "node-2")
	require.Equal(t, second.Name, after.Name)
	require.Equal(t, second.Status.Port, after.Status.Port, "it is the engine that was there")
	require.Zero(t, s.pid("engine", first.Name))
	s.waitSatisfied(t, vol.Name, "b")
	require.Equal(t, files, dirs(), "the replicas have the same files")
	requireFilled(t, target, 8*mib, 2)
	fill(t, target, 24*mib, 4)

	// What was written on either side is there for the next one.
	target.Close()
	s.dropTicket(t, vol.Name, "b")
	s.waitDetached(t, vol.Name)
	s.ticket(t, vol.Name, "c", "node-3", csi, "false")
	s.waitSatisfied(t, vol.Name, "c")
	next := open(t, vol)
	for i, value := range []byte{1, 2, 3, 4} {
		requireFilled(t, next, int64(i)*8*mib, value)
	}
	s.ticket(t, vol.Name, "d", "node-1", csi, "false")
	s.waitSatisfied(t, vol.Name, "d")
	require.Equal(t, vol.Name+"-e-2", s.named(t, vol.Name+"-e-2").Name, "the name counts on")
}

func TestLiveMigrationThatIsGivenUp(t *testing.T) {
	s := theStack(t)
	vol := s.migratable(t)
	source := open(t, vol)
	fill(t, source, 0, 1)
	port := s.engine(t, vol.Name).Status.Port
	for range 2 { // and can be tried again
		s.ticket(t, vol.Name, "b", "node-2", csi, "false")
		s.waitSatisfied(t, vol.Name, "b")
		s.dropTicket(t, vol.Name, "b")
		after := s.waitMigrated(t, vol.Name, "node-1")
		require.Equal(t, port, after.Status.Port, "it goes on")
		fill(t, source, 8*mib, 2)
		requireFilled(t, open(t, vol), 8*mib, 2)
	}
}

func TestKilledMigrationEngineIsStartedAgain(t *testing.T) {
	s := theStack(t)
	vol := s.migratable(t)
	s.ticket(t, vol.Name, "b", "node-2", csi, "false")
	s.waitSatisfied(t, vol.Name, "b")
	before := s.pid("engine", vol.Name+"-e-1")
	kill(t, before)
	require.NoError(t, poll(t.Context(), func() bool {
		pid := s.pid("engine", vol.Name+"-e-1")
		return pid != 0 && pid != before
	}))
	s.waitSatisfied(t, vol.Name, "b")
	s.dropTicket(t, vol.Name, "a")
	s.waitMigrated(t, vol.Name, "node-2")
}

// An engine that dies while its volume migrates leaves nobody who knows which node is right: the volume is detached until
// one of the tickets goes.
func TestKilledEngineEndsTheMigration(t *testing.T) {
	s := theStack(t)
	vol := s.migratable(t)
	fill(t, open(t, vol), 0, 1)
	s.ticket(t, vol.Name, "b", "node-2", csi, "false")
	s.waitSatisfied(t, vol.Name, "b")
	kill(t, s.pid("engine", vol.Name+"-e-0"))
	s.waitVolume(t, vol.Name, "detached", func(v *lh.Volume) bool {
		return v.Status.State == lh.VolumeStateDetached && v.Spec.MigrationNodeID == "" && v.Status.CurrentMigrationNodeID == "" &&
			v.Status.Robustness == lh.VolumeRobustnessUnknown
	})
	require.Empty(t, s.processes(vol.Name))
	require.Len(t, s.engines(t, vol.Name), 1)
	s.dropTicket(t, vol.Name, "a")
	s.waitSatisfied(t, vol.Name, "b")
	s.waitMigrated(t, vol.Name, "node-2")
	requireFilled(t, open(t, vol), 0, 1)
}

func TestMigrationIsNotConfirmedOverASnapshot(t *testing.T) {
	s := theStack(t)
	vol := s.migratable(t)
	s.ticket(t, vol.Name, "b", "node-2", csi, "false")
	s.waitSatisfied(t, vol.Name, "b")
	e := s.engine(t, vol.Name)
	cut := "cut-" + vol.Name
	_, err := dial(t, e, vol.Name).VolumeSnapshot(t.Context(), &enginerpc.VolumeSnapshotRequest{Name: cut})
	require.NoError(t, err)
	require.NoError(t, poll(t.Context(), func() bool { return s.engine(t, vol.Name).Status.Snapshots[cut] != nil }))
	s.dropTicket(t, vol.Name, "a")
	s.waitTicket(t, vol.Name, "b", "satisfied still", func(st *lh.AttachmentTicketStatus) bool { return st.Satisfied })
	require.Len(t, s.engines(t, vol.Name), 2)
	require.ErrorContains(t, s.Get(t.Context(), key(cut), &lh.Snapshot{}), "not found", "no object is made during a migration")

	// Its end on the other side leads back.
	s.ticket(t, vol.Name, "a", "node-1", csi, "false")
	s.dropTicket(t, vol.Name, "b")
	s.waitMigrated(t, vol.Name, "node-1")
	require.NoError(t, poll(t.Context(), func() bool { return s.Get(t.Context(), key(cut), &lh.Snapshot{}) == nil }))
}

// A ticket of a backup is one of the two that a migratable volume may have.
func TestBackupTicketBlocksMigration(t *testing.T) {
	s := theStack(t)
	vol := s.migratable(t)
	s.ticket(t, vol.Name, "backup", "node-1", backup, lh.AnyValue)
	s.waitSatisfied(t, vol.Name, "backup")
	require.ErrorContains(t, s.tryTicket(t, vol.Name, "b", "node-2", csi, "false"), "more than two nodes")
	s.dropTicket(t, vol.Name, "backup")
	s.ticket(t, vol.Name, "b", "node-2", csi, "false")
	s.waitSatisfied(t, vol.Name, "b")
	require.ErrorContains(t, s.tryTicket(t, vol.Name, "backup", "node-1", backup, lh.AnyValue), "more than two nodes")
}

func TestDeletedDuringAMigration(t *testing.T) {
	s := theStack(t)
	vol := s.migratable(t)
	s.ticket(t, vol.Name, "b", "node-2", csi, "false")
	s.waitSatisfied(t, vol.Name, "b")
	s.deleteVolume(t, vol.Name)
	require.NoError(t, poll(t.Context(), func() bool { return len(s.engines(t, vol.Name))+len(s.replicas(t, vol.Name)) == 0 }))
	require.Equal(t, []proc.Info(nil), s.processes(vol.Name))
	waitGone(t.Context(), t, instance.SocketPath(vol.Name)+"*")
}

func (s *stack) named(t *testing.T, engine string) *lh.Engine {
	t.Helper()
	e := &lh.Engine{}
	require.NoError(t, s.Get(t.Context(), key(engine), e))
	return e
}
