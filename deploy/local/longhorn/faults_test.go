package longhorn_test

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/longhorn/longhorn-engine/pkg/interceptor"
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/longhorn/types/pkg/generated/enginerpc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"hayloft.dev/deploy/local/disk"
)

const pattern = 0xa5

func write(t *testing.T, vol *lh.Volume, value byte) {
	t.Helper()
	device, err := disk.Open(t.Context(), vol.Name, vol.Spec.Size)
	require.NoError(t, err)
	defer device.Close()
	_, err = device.WriteAt(bytes.Repeat([]byte{value}, mib), 4*mib)
	require.NoError(t, err)
}

func requireWritten(t *testing.T, vol *lh.Volume, value byte) {
	t.Helper()
	device, err := disk.Open(t.Context(), vol.Name, vol.Spec.Size)
	require.NoError(t, err)
	defer device.Close()
	got := make([]byte, mib)
	_, err = device.ReadAt(got, 4*mib)
	require.NoError(t, err)
	require.True(t, bytes.Equal(bytes.Repeat([]byte{value}, mib), got), "the data is another")
}

func kill(t *testing.T, pid int) {
	t.Helper()
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

func TestKilledEngineComesBackElsewhere(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, pattern)
	before := s.engine(t, vol.Name)

	kill(t, s.pid("engine", before.Name))
	s.waitVolume(t, vol.Name, "attached again", func(v *lh.Volume) bool {
		return v.Status.State == lh.VolumeStateAttached && v.Status.Robustness == lh.VolumeRobustnessHealthy &&
			s.engine(t, vol.Name).Status.Port != before.Status.Port && s.pid("engine", before.Name) != 0
	})
	s.waitSatisfied(t, vol.Name, "csi")
	require.Equal(t, before.Name, s.engine(t, vol.Name).Name, "the same Engine object")
	requireWritten(t, vol, pattern)
}

func TestKilledEngineWithoutTicketsLeavesADetachedVolume(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	pid := s.pid("engine", vol.Name+"-e-0")
	s.dropTicket(t, vol.Name, "csi")
	_ = syscall.Kill(pid, syscall.SIGKILL) // it may be on its way out
	s.waitVolume(t, vol.Name, "detached and not faulted", func(v *lh.Volume) bool {
		return v.Status.State == lh.VolumeStateDetached && v.Status.Robustness == lh.VolumeRobustnessUnknown
	})
	require.NoError(t, poll(t.Context(), func() bool { return len(s.processes(vol.Name)) == 0 }))
}

func TestKilledReplicaDegradesAndIsRebuiltAtTheNextAttach(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, 1)
	victim := s.replicas(t, vol.Name)[0]
	engine := s.engine(t, vol.Name)

	kill(t, s.pid("replica", victim.Name))
	s.waitVolume(t, vol.Name, "degraded", func(v *lh.Volume) bool { return v.Status.Robustness == lh.VolumeRobustnessDegraded })
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, pattern) // only the other replica has this
	require.Equal(t, engine.Status.Port, s.engine(t, vol.Name).Status.Port, "the engine goes on")
	failed := s.replica(t, vol.Name, victim.Name)
	require.NotEmpty(t, failed.Spec.FailedAt)
	require.Equal(t, lh.InstanceStateError, failed.Status.CurrentState)
	// The engine gives it up and is told to forget it.
	require.NoError(t, poll(t.Context(), func() bool {
		_, in := s.engine(t, vol.Name).Status.ReplicaModeMap[victim.Name]
		return !in
	}))

	s.dropTicket(t, vol.Name, "csi")
	s.waitDetached(t, vol.Name)
	s.ticket(t, vol.Name, "csi", "node-2", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	s.waitVolume(t, vol.Name, "healthy", func(v *lh.Volume) bool { return v.Status.Robustness == lh.VolumeRobustnessHealthy })
	require.Empty(t, s.replica(t, vol.Name, victim.Name).Spec.FailedAt)

	// The rebuilt one alone has all data.
	for _, r := range s.replicas(t, vol.Name) {
		if r.Name != victim.Name {
			kill(t, s.pid("replica", r.Name))
		}
	}
	s.waitVolume(t, vol.Name, "degraded", func(v *lh.Volume) bool { return v.Status.Robustness == lh.VolumeRobustnessDegraded })
	requireWritten(t, vol, pattern)
}

func TestKilledReplicaIsRebuiltWhileAttached(t *testing.T) {
	s := theStack(t)
	s.setting(t, "replica-replenishment-wait-interval", "0")
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, pattern)
	port := s.engine(t, vol.Name).Status.Port
	victim := s.replicas(t, vol.Name)[0].Name
	pid := s.pid("replica", victim)
	kill(t, pid)
	require.NoError(t, poll(t.Context(), func() bool {
		now := s.pid("replica", victim)
		return now != 0 && now != pid
	}))
	s.waitVolume(t, vol.Name, "healthy", func(v *lh.Volume) bool {
		return v.Status.Robustness == lh.VolumeRobustnessHealthy && s.replica(t, vol.Name, victim).Spec.FailedAt == ""
	})
	require.Equal(t, port, s.engine(t, vol.Name).Status.Port, "it was attached all the time")
	for _, r := range s.replicas(t, vol.Name) {
		if r.Name != victim {
			kill(t, s.pid("replica", r.Name))
		}
	}
	requireWritten(t, vol, pattern)
}

func TestKilledReplicasWithoutRevisionsAreSalvaged(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, func(v *lh.Volume) { v.Spec.RevisionCounterDisabled = true })
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, 1)
	replicas := s.replicas(t, vol.Name)
	kill(t, s.pid("replica", replicas[0].Name))
	s.waitVolume(t, vol.Name, "degraded", func(v *lh.Volume) bool { return v.Status.Robustness == lh.VolumeRobustnessDegraded })
	write(t, vol, pattern) // only the other one has this
	kill(t, s.pid("replica", replicas[1].Name))
	s.waitVolume(t, vol.Name, "attached again", func(v *lh.Volume) bool {
		return v.Status.State == lh.VolumeStateAttached && v.Status.Robustness == lh.VolumeRobustnessHealthy && len(s.processes(vol.Name)) == 3
	})
	s.waitSatisfied(t, vol.Name, "csi")
	requireWritten(t, vol, pattern)
	require.False(t, s.engine(t, vol.Name).Spec.SalvageRequested)
}

func TestAllReplicasKilledAreSalvaged(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, pattern)
	port := s.engine(t, vol.Name).Status.Port
	for _, r := range s.replicas(t, vol.Name) {
		kill(t, s.pid("replica", r.Name))
	}
	s.waitVolume(t, vol.Name, "attached again", func(v *lh.Volume) bool {
		e := s.engine(t, vol.Name)
		return v.Status.State == lh.VolumeStateAttached && v.Status.Robustness == lh.VolumeRobustnessHealthy &&
			e.Status.Port != 0 && e.Status.Port != port
	})
	s.waitSatisfied(t, vol.Name, "csi")
	requireWritten(t, vol, pattern)
}

func TestSnapshotOnTheEngineGetsAnObject(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, pattern)
	e := s.engine(t, vol.Name)
	cut := "snap-" + vol.Name
	_, err := dial(t, e, vol.Name).VolumeSnapshot(t.Context(), &enginerpc.VolumeSnapshotRequest{Name: cut, Labels: map[string]string{"by": "test"}})
	require.NoError(t, err)

	snapshot := &lh.Snapshot{}
	require.NoError(t, poll(t.Context(), func() bool {
		return s.Get(t.Context(), key(cut), snapshot) == nil && snapshot.Status.ReadyToUse
	}))
	require.Equal(t, vol.Name, snapshot.Spec.Volume)
	require.Equal(t, "test", snapshot.Status.Labels["by"])
	require.Contains(t, s.engine(t, vol.Name).Status.Snapshots, cut)

	_, err = dial(t, e, "another").VolumeGet(t.Context(), &emptypb.Empty{})
	require.ErrorContains(t, err, "incorrect volume name", "the engine knows who it is")
}

func (s *stack) replica(t *testing.T, vol, name string) lh.Replica {
	t.Helper()
	for _, r := range s.replicas(t, vol) {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("replica %s is gone", name)
	return lh.Replica{}
}

// dial connects to the engine as somebody who takes it for that of the named volume.
func dial(t *testing.T, e *lh.Engine, volume string) enginerpc.ControllerServiceClient {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(e.Status.StorageIP, strconv.Itoa(e.Status.Port)),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		interceptor.WithIdentityValidationClientInterceptor(volume, e.Name))
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return enginerpc.NewControllerServiceClient(connection)
}

// waitGone waits until no file matches.
func waitGone(ctx context.Context, t *testing.T, glob string) {
	t.Helper()
	require.NoError(t, poll(ctx, func() bool {
		found, err := filepath.Glob(glob)
		return err == nil && len(found) == 0
	}), "%s is still there", glob)
}
