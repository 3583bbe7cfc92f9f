package engine

import (
	"context"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
	"github.com/longhorn/types/pkg/generated/enginerpc"
)

// StateUnreachable is the State of a replica that gives no answer.
const StateUnreachable = "unreachable"

// ReplicaRestore is what one replica says of its restore.
type ReplicaRestore struct {
	// Address is the replica's, "ip:port"; Mode is the engine's word on it.
	Address, Mode string
	Restoring     bool
	// Progress in percent, 0 to 100, of the download.
	Progress int
	// Current is the backup being restored, LastRestored the last one that
	// was restored whole: data downloaded, file in the replica's chain.
	Current, LastRestored string
	// State is one of the State constants, StateUnreachable, or empty when
	// nothing was ever restored.
	State string
	// Error of the restore, or why the replica is unreachable.
	Error string
}

// RestoreStatus asks every replica of the engine, those that it has given up
// included, so that the caller sees when they differ. It is an error only when
// the engine cannot be asked or none of its replicas answers.
//
// A replica that is asked while it starts a restore answers only when the
// target has answered it.
func (e *Engine) RestoreStatus(ctx context.Context) ([]ReplicaRestore, error) {
	answers, err := askAll(ctx, e, e.restoreStatusOn)
	if err != nil {
		return nil, e.failed("asking for the restore", err)
	}
	out := make([]ReplicaRestore, len(answers))
	for i, a := range answers {
		out[i] = ReplicaRestore{Address: a.replica.Address, Mode: a.replica.Mode}
		if a.err != nil {
			out[i].State, out[i].Error = StateUnreachable, a.err.Error()
			continue
		}
		out[i].Restoring = a.value.IsRestoring
		out[i].Progress = min(max(int(a.value.Progress), 0), 100)
		out[i].Current, out[i].LastRestored = a.value.CurrentRestoringBackup, a.value.LastRestored
		out[i].State, out[i].Error = a.value.State, a.value.Error
	}
	return out, nil
}

func (e *Engine) restoreStatusOn(ctx context.Context, r Replica) (*enginerpc.RestoreStatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	return replicaCall(ctx, e, r, (*replicaclient.ReplicaClient).RestoreStatus)
}
