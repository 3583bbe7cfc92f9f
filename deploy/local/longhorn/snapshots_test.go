package longhorn_test

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/longhorn/longhorn-engine/pkg/interceptor"
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/longhorn/types/pkg/generated/enginerpc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
)

// cut cuts a snapshot on the engine and waits for its object.
func (s *stack) cut(t *testing.T, vol *lh.Volume, name string) *lh.Snapshot {
	t.Helper()
	_, err := dial(t, s.engine(t, vol.Name), vol.Name).VolumeSnapshot(t.Context(), &enginerpc.VolumeSnapshotRequest{Name: name})
	require.NoError(t, err)
	return s.waitSnapshot(t, name, "ready", func(s *lh.Snapshot) bool { return s.Status.ReadyToUse })
}

func (s *stack) waitSnapshot(t *testing.T, name, what string, done func(*lh.Snapshot) bool) *lh.Snapshot {
	t.Helper()
	snapshot := &lh.Snapshot{}
	err := poll(t.Context(), func() bool { return s.Get(t.Context(), key(name), snapshot) == nil && done(snapshot) })
	require.NoError(t, err, "snapshot %s is not %s: %+v", name, what, snapshot)
	return snapshot
}

// inEngine says whether the engine has a snapshot, as its last poll says.
func (s *stack) inEngine(t *testing.T, vol *lh.Volume, name string) bool {
	t.Helper()
	return s.engine(t, vol.Name).Status.Snapshots[name] != nil
}

func (s *stack) setting(t *testing.T, name, value string) {
	t.Helper()
	setting := &lh.Setting{}
	require.NoError(t, s.Get(t.Context(), key(name), setting))
	before := setting.Value
	setting.Value = value
	require.NoError(t, s.Update(t.Context(), setting))
	t.Cleanup(func() {
		setting.Value = before
		if err := s.Update(context.WithoutCancel(t.Context()), setting); err != nil && !apierrors.IsConflict(err) {
			t.Error(err) // a conflict: the test itself has set it back
		}
	})
}

func TestDeletedSnapshotLeavesTheEngineOfADetachedVolume(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", csi, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, 1)
	older := s.cut(t, vol, "older-"+vol.Name)
	write(t, vol, 2)
	newer := s.cut(t, vol, "newer-"+vol.Name)
	require.Equal(t, older.Name, newer.Status.Parent)
	require.Equal(t, []string{"longhorn.io"}, older.Finalizers)
	require.Empty(t, older.Status.Checksum, "nobody asked for one")
	s.dropTicket(t, vol.Name, "csi")
	s.waitDetached(t, vol.Name)
	require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(older), older), "objects stay while it is detached")
	require.True(t, older.Status.ReadyToUse)

	// It is attached for that, and detached again.
	require.NoError(t, s.Delete(t.Context(), older))
	s.waitNotFound(t, older)
	s.waitDetached(t, vol.Name)
	require.Empty(t, s.processes(vol.Name))
	require.False(t, s.inEngine(t, vol, older.Name))
	require.True(t, s.inEngine(t, vol, newer.Name))

	// The head's parent cannot be purged. It is marked, keeps nothing attached, and goes when another one is cut.
	require.NoError(t, s.Delete(t.Context(), newer))
	s.waitSnapshot(t, newer.Name, "marked", func(s *lh.Snapshot) bool { return s.Status.MarkRemoved && !s.Status.ReadyToUse })
	s.waitDetached(t, vol.Name)
	s.ticket(t, vol.Name, "csi", "node-1", csi, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	requireWritten(t, vol, 2)
	s.cut(t, vol, "last-"+vol.Name)
	s.waitNotFound(t, newer)
	requireWritten(t, vol, 2)
}

func TestSnapshotThatVanishedFromTheEngineLosesItsObject(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", csi, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	gone := s.cut(t, vol, "gone-"+vol.Name)
	write(t, vol, 1)
	s.cut(t, vol, "stays-"+vol.Name)
	for _, r := range s.replicas(t, vol.Name) {
		replica := enginerpc.NewReplicaServiceClient(dialReplica(t, &r, 0))
		_, err := replica.DiskMarkAsRemoved(t.Context(), &enginerpc.DiskMarkAsRemovedRequest{Name: gone.Name})
		require.NoError(t, err)
	}
	s.waitSnapshot(t, gone.Name, "marked", func(s *lh.Snapshot) bool { return s.Status.MarkRemoved && !s.Status.ReadyToUse })
	for _, r := range s.replicas(t, vol.Name) {
		_, err := enginerpc.NewSyncAgentServiceClient(dialReplica(t, &r, 2)).SnapshotPurge(t.Context(), &emptypb.Empty{})
		require.NoError(t, err)
	}
	s.waitNotFound(t, gone)
	requireWritten(t, vol, 1)
}

func TestPurgeThatIsSwitchedOff(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", csi, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	snapshot := s.cut(t, vol, "kept-"+vol.Name)
	write(t, vol, 1)
	s.cut(t, vol, "other-"+vol.Name)
	s.setting(t, "disable-snapshot-purge", "true")
	require.NoError(t, s.Delete(t.Context(), snapshot))
	s.waitSnapshot(t, snapshot.Name, "unready", func(s *lh.Snapshot) bool { return !s.Status.ReadyToUse })
	require.True(t, s.inEngine(t, vol, snapshot.Name))
	s.setting(t, "disable-snapshot-purge", "false")
	s.waitNotFound(t, snapshot)
}

func TestSnapshotObjectIsCut(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	snapshot := &lh.Snapshot{Spec: lh.SnapshotSpec{Volume: vol.Name, CreateSnapshot: true, Labels: map[string]string{"by": "test"}}}
	snapshot.Namespace, snapshot.Name = namespace, "made-"+vol.Name
	require.NoError(t, s.Create(t.Context(), snapshot))
	ready := s.waitSnapshot(t, snapshot.Name, "ready", func(s *lh.Snapshot) bool { return s.Status.ReadyToUse })
	require.Equal(t, "test", ready.Status.Labels["by"])
	s.waitDetached(t, vol.Name)

	orphan := snapshot.DeepCopy()
	orphan.ObjectMeta.ResourceVersion, orphan.Name, orphan.Spec.Volume = "", "orphan-"+vol.Name, "nowhere"
	require.ErrorContains(t, s.Create(t.Context(), orphan), "failed to get volume")
}

func TestSnapshotLimit(t *testing.T) {
	s := theStack(t)
	s.setting(t, "snapshot-max-count", "3")
	vol := s.volume(t, nil)
	require.Equal(t, 3, vol.Spec.SnapshotMaxCount)
	s.ticket(t, vol.Name, "csi", "node-1", csi, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	var err error
	for i := range 5 {
		_, err = dial(t, s.engine(t, vol.Name), vol.Name).VolumeSnapshot(t.Context(),
			&enginerpc.VolumeSnapshotRequest{Name: "s" + strconv.Itoa(i) + "-" + vol.Name})
		if err != nil {
			break
		}
	}
	require.ErrorContains(t, err, "snapshotMaxCount 3")
	s.waitVolume(t, vol.Name, "still attached", func(v *lh.Volume) bool { return v.Status.State == lh.VolumeStateAttached })
	write(t, vol, 1)
}

// Nothing of a volume's spec says that it is a clone: its replicas take the snapshot from another volume's.
func TestFreshVolumeTakesAClone(t *testing.T) {
	s := theStack(t)
	source := s.volume(t, func(v *lh.Volume) { v.Spec.RevisionCounterDisabled = true })
	s.ticket(t, source.Name, "csi", "node-1", csi, "-")
	s.waitSatisfied(t, source.Name, "csi")
	write(t, source, pattern)
	snapshot := s.cut(t, source, "clone-"+source.Name)
	write(t, source, 1)

	target := s.volume(t, func(v *lh.Volume) { v.Spec.RevisionCounterDisabled = true })
	s.ticket(t, target.Name, "restore", "node-2", lh.AttacherTypeBackupController, lh.TrueValue)
	s.waitSatisfied(t, target.Name, "restore")
	from := s.replicas(t, source.Name)[0]
	for _, r := range s.replicas(t, target.Name) {
		_, err := enginerpc.NewSyncAgentServiceClient(dialReplica(t, &r, 2)).SnapshotClone(t.Context(), &enginerpc.SnapshotCloneRequest{
			FromAddress: address(from.Status.StorageIP, from.Status.Port), FromVolumeName: source.Name,
			ToHost: r.Status.StorageIP, SnapshotFileName: snapshot.Name, FileSyncHttpClientTimeout: 30,
		})
		require.NoError(t, err)
	}
	s.dropTicket(t, target.Name, "restore")
	s.waitDetached(t, target.Name)
	s.ticket(t, target.Name, "csi", "node-3", csi, "-")
	s.waitSatisfied(t, target.Name, "csi")
	device, err := disk.Open(t.Context(), target.Name, target.Spec.Size)
	require.NoError(t, err)
	defer device.Close()
	requireWritten(t, target, pattern)
}

func address(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

// dialReplica connects to one of a replica's ports.
func dialReplica(t *testing.T, r *lh.Replica, offset int) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+address(r.Status.StorageIP, r.Status.Port+offset),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		interceptor.WithIdentityValidationClientInterceptor(r.Spec.VolumeName, r.Name))
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}
