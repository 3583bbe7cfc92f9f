package worker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
)

func TestCloneProgress(t *testing.T) {
	job := &v1alpha1.CloneJob{Snapshot: "s", SizeBytes: 100}
	replica := func(state string, progress int, change func(*engine.ReplicaClone)) engine.ReplicaClone {
		r := engine.ReplicaClone{Address: "a", Mode: engine.ModeRW, Snapshot: "s", From: "b", State: state, Progress: progress, Cloning: state == engine.StateInProgress}
		if change != nil {
			change(&r)
		}
		return r
	}
	done, half := replica(engine.StateComplete, 100, nil), replica(engine.StateInProgress, 50, nil)
	for name, c := range map[string]struct {
		replicas []engine.ReplicaClone
		done     bool
		slowest  int
		sum      int64
		reason   string
	}{
		"both done":    {replicas: []engine.ReplicaClone{done, done}, done: true, slowest: 100, sum: 200},
		"one goes on":  {replicas: []engine.ReplicaClone{done, half}, slowest: 50, sum: 150},
		"one is away":  {replicas: []engine.ReplicaClone{done}, reason: v1alpha1.ReasonReplicasDiffer},
		"one given up": {replicas: []engine.ReplicaClone{done, replica(engine.StateInProgress, 1, func(r *engine.ReplicaClone) { r.Mode = engine.ModeERR })}, reason: v1alpha1.ReasonReplicasDiffer},
		"one failed":   {replicas: []engine.ReplicaClone{done, replica(engine.StateError, 1, func(r *engine.ReplicaClone) { r.Error = "connection reset" })}, reason: v1alpha1.ReasonEngineError},
		"one asked for twice": {
			replicas: []engine.ReplicaClone{done, replica(engine.StateComplete, 100, func(r *engine.ReplicaClone) { r.Error = "already cloning" })}, reason: v1alpha1.ReasonEngineError,
		},
		"one restarted": {replicas: []engine.ReplicaClone{half, replica("", 0, func(r *engine.ReplicaClone) { r.Snapshot = "" })}, reason: v1alpha1.ReasonTransferLost},
	} {
		t.Run(name, func(t *testing.T) {
			done, slowest, sum, err := cloneProgress(c.replicas, 2, job, engine.CloneStarted{From: "b"})
			if c.reason != "" {
				f := classify(t.Context(), err)
				require.Equal(t, c.reason, f.reason)
				require.True(t, f.retryable, "a fresh volume may do")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.done, done)
			require.Equal(t, c.slowest, slowest)
			require.Equal(t, c.sum, sum)
		})
	}
}
