package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// labelVolume is the label by which Longhorn ties Engine and Replica objects
// to their volume.
const labelVolume = "longhornvolume"

// Errors of this package, for callers that branch.
var (
	// ErrNotAttached: the volume has no running engine now.
	ErrNotAttached = errors.New("volume has no running engine")
	// ErrMigrating: two engines exist, a live migration is under way.
	ErrMigrating = errors.New("volume is being live-migrated")
	// ErrWanted: a workload has asked for the volume, or is about to.
	ErrWanted = errors.New("volume is wanted")
	// ErrGone: there is no such volume.
	ErrGone = errors.New("volume does not exist")
	// ErrNotSupported: the volume cannot be worked on by Hayloft.
	ErrNotSupported = errors.New("volume is not supported")
)

// Location is where a volume's engine runs, as its Engine object says.
type Location struct {
	Volume    string
	Engine    string // name of the Engine object, which is the engine's instance name
	EngineUID types.UID
	Address   string // ip:port of the engine's gRPC
	Node      string
	// Replicas, Replica object name -> ip:port.
	Replicas map[string]string
}

// Locate reads where a volume's engine runs. It returns ErrNotAttached or
// ErrMigrating when there is not exactly one running engine.
func (a *Attacher) Locate(ctx context.Context, volume string) (Location, error) {
	var engines longhorn.EngineList
	if err := a.Client.List(ctx, &engines, client.InNamespace(a.Namespace), client.MatchingLabels{labelVolume: volume}); err != nil {
		return Location{}, fmt.Errorf("listing the engines of volume %s: %w", volume, err)
	}
	return locate(volume, engines.Items)
}

func locate(volume string, engines []longhorn.Engine) (Location, error) {
	if len(engines) > 1 {
		return Location{}, fmt.Errorf("volume %s has %d engines: %w", volume, len(engines), ErrMigrating)
	}
	if len(engines) == 0 {
		return Location{}, fmt.Errorf("volume %s: %w", volume, ErrNotAttached)
	}
	e := engines[0]
	if e.Spec.DataEngine == longhorn.DataEngineTypeV2 {
		return Location{}, fmt.Errorf("volume %s has data engine v2, of which Hayloft reads and writes nothing: %w", volume, ErrNotSupported)
	}
	if e.Status.CurrentState != longhorn.InstanceStateRunning || e.Status.StorageIP == "" || e.Status.Port == 0 {
		return Location{}, fmt.Errorf("volume %s: engine is %s: %w", volume, orUnknown(string(e.Status.CurrentState)), ErrNotAttached)
	}
	return Location{
		Volume:    volume,
		Engine:    e.Name,
		EngineUID: e.UID,
		Address:   net.JoinHostPort(e.Status.StorageIP, strconv.Itoa(e.Status.Port)),
		Node:      e.Spec.NodeID,
		Replicas:  e.Status.CurrentReplicaAddressMap,
	}, nil
}

func orUnknown(s string) string {
	if s == "" {
		return "not running"
	}
	return s
}
