package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
)

func TestTransferWatch(t *testing.T) {
	t0 := time.Now()
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	w := newTransferWatch(10*time.Second, 5*time.Second)

	require.False(t, w.stalled(at(0), 0), "the first look starts the clock")
	require.False(t, w.stalled(at(9), 0))
	require.False(t, w.stalled(at(9), 1), "it moved")
	require.False(t, w.stalled(at(18), 1))
	require.True(t, w.stalled(at(19), 1), "ten seconds without a move")

	require.False(t, w.unreachable(at(20)))
	require.False(t, w.unreachable(at(24)))
	require.False(t, w.stalled(at(24), 2), "an answer ends the silence")
	require.False(t, w.unreachable(at(26)))
	require.True(t, w.unreachable(at(31)))
}

func TestTransferWatchLooksOftenAtFirst(t *testing.T) {
	w := newTransferWatch(time.Minute, time.Minute)
	require.Equal(t, 50*time.Millisecond, w.interval(time.Second))
	require.Equal(t, 100*time.Millisecond, w.interval(time.Second))
	for range 50 {
		w.interval(time.Second)
	}
	require.Equal(t, time.Second, w.interval(time.Second))
}

func TestNearestOurs(t *testing.T) {
	const p1, p2 = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	old, cur := names.Snapshot(p1, 1, "root"), names.Snapshot(p2, 1, "root")
	chain := func(oldRemoved bool) map[string]engine.Snapshot {
		return map[string]engine.Snapshot{
			old:      {Name: old, Removed: oldRemoved},
			"theirs": {Name: "theirs", Parent: old},
			cur:      {Name: cur, Parent: "theirs"},
		}
	}
	require.Equal(t, old, nearestOurs(chain(false), cur))
	require.Empty(t, nearestOurs(chain(true), cur), "a removed one is no base")
	require.Empty(t, nearestOurs(chain(false), old))
	require.Empty(t, nearestOurs(map[string]engine.Snapshot{cur: {Name: cur, Parent: "unknown"}}, cur))
}

func TestOvertaken(t *testing.T) {
	status := func(e map[string]int64) *v1alpha1.NodeJobStatus { return &v1alpha1.NodeJobStatus{Epochs: e} }
	mine := status(map[string]int64{"a": 3, "b": 5})
	require.False(t, overtaken(mine, status(nil)))
	require.False(t, overtaken(mine, status(map[string]int64{"a": 3, "b": 4})))
	require.True(t, overtaken(mine, status(map[string]int64{"a": 4, "b": 1})))
	require.True(t, overtaken(mine, status(map[string]int64{"c": 1})), "a volume that we do not hold")
}

func TestProgressIsWrittenWhenItMoved(t *testing.T) {
	status := func(done, total int64) *v1alpha1.TransferStatus {
		return &v1alpha1.TransferStatus{Progress: &v1alpha1.Progress{BytesDone: done, BytesTotal: total}}
	}
	require.True(t, moved(nil, status(0, 100)))
	require.True(t, moved(&v1alpha1.TransferStatus{}, status(0, 100)))
	require.False(t, moved(status(10, 1000), status(19, 1000)), "less than a hundredth")
	require.True(t, moved(status(10, 1000), status(20, 1000)))
	require.False(t, moved(status(0, 0), status(0, 0)))
	require.True(t, moved(status(5, 10), status(5, 20)), "another total")
}

func TestRestoreStatuses(t *testing.T) {
	const b = "hl-point-a1-root"
	job := &v1alpha1.RestoreJob{Backup: b, Target: "s3"}
	done := engine.ReplicaRestore{Address: "1", LastRestored: b, State: "complete", Progress: 100}
	running := engine.ReplicaRestore{Address: "2", Restoring: true, Current: b, State: "in_progress", Progress: 40}
	blank := engine.ReplicaRestore{Address: "3"}
	broken := engine.ReplicaRestore{Address: "4", Current: b, State: "error", Error: "block missing"}
	other := engine.ReplicaRestore{Address: "5", LastRestored: "hl-other"}
	list := func(s ...engine.ReplicaRestore) []engine.ReplicaRestore { return s }

	require.True(t, restored(list(done, done), b))
	for name, s := range map[string][]engine.ReplicaRestore{
		"none": nil, "one runs": list(done, running), "one blank": list(done, blank), "one broken": list(done, broken), "another backup": list(done, other),
	} {
		require.False(t, restored(s, b), name)
	}

	reason := func(err error) string {
		var f *failure
		require.ErrorAs(t, err, &f)
		return f.reason
	}
	require.NoError(t, failedReplica(list(done, running), 2, job))
	require.Equal(t, v1alpha1.ReasonTargetError, reason(failedReplica(list(running, broken), 2, job)))
	require.Equal(t, v1alpha1.ReasonTransferLost, reason(failedReplica(list(running, blank), 2, job)), "a replica whose process was restarted")
	require.Equal(t, v1alpha1.ReasonReplicasDiffer, reason(failedReplica(list(running), 2, job)), "a replica that dropped out")

	silent := engine.ReplicaRestore{Address: "6", Mode: engine.ModeRW, State: engine.StateUnreachable, Error: "no answer"}
	givenUp := engine.ReplicaRestore{Address: "7", Mode: engine.ModeERR, State: engine.StateUnreachable, Error: "no answer"}
	require.Error(t, silentReplica(list(done, silent)), "it may only be starting")
	require.NoError(t, silentReplica(list(done, givenUp)))
	require.Equal(t, v1alpha1.ReasonReplicasDiffer, reason(failedReplica(list(running, givenUp), 2, job)))
}

func TestClassify(t *testing.T) {
	ctx := context.Background()
	expired, cancel := context.WithTimeoutCause(ctx, 0, errDeadline)
	defer cancel()
	<-expired.Done()
	for _, c := range []struct {
		name   string
		ctx    context.Context
		err    error
		reason string
		retry  bool
	}{
		{"deadline of the job", expired, errors.New("x"), v1alpha1.ReasonDeadlineExceeded, false},
		{"named by the work", ctx, fmt.Errorf("w: %w", failed(v1alpha1.ReasonStalled, true, "s")), v1alpha1.ReasonStalled, true},
		{"data engine v2", ctx, fmt.Errorf("w: %w", attach.ErrNotSupported), v1alpha1.ReasonVolumeNotSupported, false},
		{"no volume", ctx, attach.ErrGone, v1alpha1.ReasonVolumeGone, false},
		{"no front end", ctx, engine.ErrFrontendDown, v1alpha1.ReasonFrontendDown, true},
		{"not fresh", ctx, engine.ErrNotFresh, v1alpha1.ReasonVolumeNotFresh, true},
		{"engine away", ctx, engine.ErrUnavailable, v1alpha1.ReasonEngineUnavailable, true},
		{"wanted, and waited for in vain", ctx, fmt.Errorf("w: %w: %w", attach.ErrWanted, context.DeadlineExceeded), v1alpha1.ReasonVolumeWanted, true},
		{"between two nodes", ctx, attach.ErrMigrating, v1alpha1.ReasonVolumeWanted, true},
		{"anything else", ctx, errors.New("odd"), v1alpha1.ReasonEngineError, true},
	} {
		f := classify(c.ctx, c.err)
		require.Equal(t, c.reason, f.reason, c.name)
		require.Equal(t, c.retry, f.retryable, c.name)
	}
}

func TestLost(t *testing.T) {
	for _, err := range []error{lease.ErrLost, lease.ErrFenced, lease.ErrClosed, errOutdated, errWithdrawn} {
		require.True(t, lost(fmt.Errorf("w: %w", err)))
	}
	require.False(t, lost(engine.ErrUnavailable))
	require.False(t, lost(nil))
}

func TestShortenKeepsWithinTheLimit(t *testing.T) {
	require.Equal(t, "a", shorten("a"))
	require.Less(t, len(shorten(strings.Repeat("x", 10_000))), 4096)
}

func TestTune(t *testing.T) {
	w := &Worker{Limits: Limits{Stall: time.Hour}}
	require.Equal(t, time.Hour, w.limits().Stall)
	w.Tune(Limits{Stall: time.Minute})
	require.Equal(t, time.Minute, w.limits().Stall)
	require.Equal(t, time.Hour, w.Limits.Stall, "what the program was started with is the base of the next change")
}
