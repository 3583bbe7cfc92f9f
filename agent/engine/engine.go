// Package engine speaks to one Longhorn engine (v1.8) and its replicas: it
// cuts and removes snapshots, starts backups, restores and clones and asks how
// they are doing. The engine and its replicas move the data; nothing passes
// through here.
//
// It decides nothing about retries, names or who may work on a volume. The
// engine accepts two backups at once, overwrites a backup of the same name and
// loses blocks when a snapshot name is used twice, all without an error, so
// callers hold the volume's lease and use every name once.
//
// # Deadlines
//
// Longhorn's client packages take no context: a call into them ends by itself
// after at most three minutes. Every method here returns when its ctx ends; a
// call that is then still under way is left to end on its own, with its
// connection, within those three minutes. A change that was asked for may
// still happen after its caller has given up on it.
package engine

import (
	"context"
	"fmt"
	"strings"

	ctrlclient "github.com/longhorn/longhorn-engine/pkg/controller/client"
	"github.com/longhorn/longhorn-engine/pkg/types"
)

// Address says which engine is meant and where it stands. The engine refuses
// calls that name another volume or instance.
type Address struct {
	// Volume is the Longhorn volume's name.
	Volume string
	// Instance is the name of the Longhorn Engine object.
	Instance string
	// Addr is the controller's gRPC address, "ip:port".
	Addr string
}

// Engine is one Longhorn engine. It holds no connection: every method opens
// and closes its own, so an Engine needs no closing and may be used from
// several goroutines.
type Engine struct {
	addr Address
}

// Open names the engine at a; nothing is dialled yet.
func Open(a Address) *Engine { return &Engine{addr: a} }

// Modes of a replica, as the engine sees it.
const (
	ModeRW  = string(types.RW)  // in use
	ModeWO  = string(types.WO)  // being rebuilt
	ModeERR = string(types.ERR) // given up by the engine
)

// Replica is one replica in the engine's list.
type Replica struct {
	// Address is the replica's gRPC address, "ip:port".
	Address string
	// Mode is one of ModeRW, ModeWO and ModeERR.
	Mode string
}

// Info is what the engine says of itself.
type Info struct {
	Name      string
	SizeBytes int64
	// FrontendUp tells whether the volume can be read and written through the
	// engine. Restores need it down, snapshots need it up.
	FrontendUp bool
	// SnapshotMax is how many snapshots the volume may have: Longhorn's
	// setting snapshot-max-count, 250 by default.
	SnapshotMax int
	Replicas    []Replica
}

// Info asks the engine for its volume and replicas.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	info, err := e.info(ctx)
	return info, e.failed("asking the engine for its state", err)
}

func (e *Engine) info(ctx context.Context) (Info, error) {
	return controllerCall(ctx, e, func(c *ctrlclient.ControllerClient) (Info, error) {
		v, err := c.VolumeGet()
		if err != nil {
			return Info{}, err
		}
		list, err := c.ReplicaList()
		if err != nil {
			return Info{}, err
		}
		info := Info{Name: v.Name, SizeBytes: v.Size, FrontendUp: v.FrontendState == string(types.StateUp), SnapshotMax: v.SnapshotMaxCount}
		for _, r := range list {
			info.Replicas = append(info.Replicas, Replica{
				Address: strings.TrimPrefix(r.Address, "tcp://"),
				Mode:    string(r.Mode),
			})
		}
		return info, nil
	})
}

// inMode picks the replicas of one mode, in the engine's order.
func (i Info) inMode(mode string) []Replica {
	var out []Replica
	for _, r := range i.Replicas {
		if r.Mode == mode {
			out = append(out, r)
		}
	}
	return out
}

// inUse is the replicas that serve the volume, or ErrNoReplica.
func (i Info) inUse() ([]Replica, error) {
	rw := i.inMode(ModeRW)
	if len(rw) == 0 {
		return nil, fmt.Errorf("%w in use, of %d that the engine lists", ErrNoReplica, len(i.Replicas))
	}
	return rw, nil
}
