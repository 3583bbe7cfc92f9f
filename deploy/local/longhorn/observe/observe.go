// Package observe asks a running engine and its replicas for what an Engine object's status mirrors. It asks and never
// steers, except for taking a broken replica out of its engine.
package observe

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/longhorn/longhorn-engine/pkg/interceptor"
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/longhorn/types/pkg/generated/enginerpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// syncAgentOffset is from a replica's port to its sync agent's.
const syncAgentOffset = 2

// Target is an engine to look at.
type Target struct {
	Volume, Instance string
	Address          string            // ip:port
	Replicas         map[string]string // ip:port -> the replica's instance name
}

// Report is what an engine and its replicas said.
type Report struct {
	SizeBytes int64
	Endpoint  string                       // of the front end, "" when it is off
	Modes     map[string]lh.ReplicaMode    // the replica's instance name -> its mode
	Snapshots map[string]*lh.SnapshotInfo  // name -> snapshot, volume-head among them; nil when they could not be read
	Restore   map[string]*lh.RestoreStatus // tcp://ip:port of the replica
	Purge     map[string]*lh.PurgeStatus   // likewise
	Rebuild   map[string]*lh.RebuildStatus // likewise, of replicas that are not RW
}

// modes asks only the engine: its size, its front end and its replicas' modes.
func modes(ctx context.Context, t Target) (Report, error) {
	connection, err := dial(t.Address, t.Volume, t.Instance)
	if err != nil {
		return Report{}, fmt.Errorf("asking engine %s: %w", t.Instance, err)
	}
	defer connection.Close()
	engine := enginerpc.NewControllerServiceClient(connection)
	volume, err := engine.VolumeGet(ctx, &emptypb.Empty{})
	if err != nil {
		return Report{}, fmt.Errorf("asking engine %s: %w", t.Instance, err)
	}
	list, err := engine.ReplicaList(ctx, &emptypb.Empty{})
	if err != nil {
		return Report{}, fmt.Errorf("asking engine %s for its replicas: %w", t.Instance, err)
	}
	report := Report{SizeBytes: volume.GetSize(), Endpoint: volume.GetEndpoint(), Modes: map[string]lh.ReplicaMode{}}
	for _, r := range list.GetReplicas() {
		name, ours := t.Replicas[trim(r.GetAddress().GetAddress())]
		if ours {
			report.Modes[name] = lh.ReplicaMode(r.GetMode().String())
		}
	}
	return report, nil
}

// All asks the engine and then each replica. A replica that does not answer is left out: the engine says what it thinks
// of it.
func All(ctx context.Context, t Target) (Report, error) {
	report, err := modes(ctx, t)
	if err != nil {
		return Report{}, err
	}
	report.Restore = map[string]*lh.RestoreStatus{}
	report.Purge = map[string]*lh.PurgeStatus{}
	report.Rebuild = map[string]*lh.RebuildStatus{}
	for address, name := range t.Replicas {
		mode, in := report.Modes[name]
		if !in || mode == lh.ReplicaModeERR {
			continue
		}
		if err := askReplica(ctx, t.Volume, name, address, mode, &report); err != nil {
			return Report{}, err
		}
	}
	return report, nil
}

// DropReplica takes a replica that the engine gave up out of it, as Longhorn does with those it knows to be failed.
func DropReplica(ctx context.Context, t Target, address string) error {
	connection, err := dial(t.Address, t.Volume, t.Instance)
	if err != nil {
		return fmt.Errorf("taking %s out of engine %s: %w", address, t.Instance, err)
	}
	defer connection.Close()
	_, err = enginerpc.NewControllerServiceClient(connection).ReplicaDelete(ctx, &enginerpc.ReplicaAddress{Address: "tcp://" + address})
	if err != nil {
		return fmt.Errorf("taking %s out of engine %s: %w", address, t.Instance, err)
	}
	return nil
}

func askReplica(ctx context.Context, volume, name, address string, mode lh.ReplicaMode, report *Report) error {
	url := "tcp://" + address
	replica, err := dial(address, volume, name)
	if err != nil {
		return fmt.Errorf("asking replica %s: %w", name, err)
	}
	defer replica.Close()
	agentAddress, err := offset(address, syncAgentOffset)
	if err != nil {
		return fmt.Errorf("asking replica %s: %w", name, err)
	}
	agentConnection, err := dial(agentAddress, volume, name)
	if err != nil {
		return fmt.Errorf("asking replica %s: %w", name, err)
	}
	defer agentConnection.Close()
	agent := enginerpc.NewSyncAgentServiceClient(agentConnection)

	if mode == lh.ReplicaModeRW {
		if got, err := enginerpc.NewReplicaServiceClient(replica).ReplicaGet(ctx, &emptypb.Empty{}); err == nil {
			// Of two replicas the one that has more is right: something is on its way in the other.
			if found := snapshots(got.GetReplica().GetDisks()); len(found) > len(report.Snapshots) {
				report.Snapshots = found
			}
		}
	} else if got, err := agent.ReplicaRebuildStatus(ctx, &emptypb.Empty{}); err == nil {
		report.Rebuild[url] = &lh.RebuildStatus{
			Error: got.GetError(), IsRebuilding: got.GetIsRebuilding(), Progress: int(got.GetProgress()),
			State: got.GetState(), FromReplicaAddress: got.GetFromReplicaAddress(),
		}
	}
	if got, err := agent.RestoreStatus(ctx, &emptypb.Empty{}); err == nil {
		report.Restore[url] = &lh.RestoreStatus{
			IsRestoring: got.GetIsRestoring(), LastRestored: got.GetLastRestored(),
			CurrentRestoringBackup: got.GetCurrentRestoringBackup(), Progress: int(got.GetProgress()),
			Error: got.GetError(), Filename: got.GetDestFileName(), State: got.GetState(), BackupURL: got.GetBackupUrl(),
		}
	}
	if got, err := agent.SnapshotPurgeStatus(ctx, &emptypb.Empty{}); err == nil {
		report.Purge[url] = &lh.PurgeStatus{
			Error: got.GetError(), IsPurging: got.GetIsPurging(), Progress: int(got.GetProgress()), State: got.GetState(),
		}
	}
	return nil
}

func dial(address, volume, instance string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		interceptor.WithIdentityValidationClientInterceptor(volume, instance))
}

func offset(address string, by int) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(number+by)), nil
}
