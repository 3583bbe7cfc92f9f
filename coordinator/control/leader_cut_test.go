package control_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
)

// A Snapshot that was cancelled while it was cut, and whose VM and volumes go,
// ends as Failed, can be deleted and leaves nothing, whichever write of the
// leader is its last. The volumes go before it is cleaned up or, in every other
// run, after that.
func TestCancelledSnapshotOfADeletedVM(t *testing.T) {
	t.Parallel()
	w := snapshotWorld(t)
	session, _ := w.session("n1")
	k := 1
	for w.cancelledSnapshot(k, session, k%2 == 0) {
		k++
		require.Less(t, k, 60, "it takes too many writes")
	}
	t.Logf("cut off at each of %d writes", k-1)
}

// cancelledSnapshot is one run, with a leader that ends at its k-th write; false:
// there was none.
func (w *world) cancelledSnapshot(k int, session string, early bool) bool {
	w.t.Helper()
	l := w.doomed(k)
	vm := w.vm(fmt.Sprintf("web-%d", k))
	b := w.snapshotOf(fmt.Sprintf("s-%d", k), vm.GetName())
	cut := &v1alpha1.NodeJob{}
	l.eventually("its disks are being cut", func() bool {
		for _, j := range w.jobs() {
			if j.Spec.Cut != nil && j.Spec.Owner.UID == b.UID {
				*cut = j
				return true
			}
		}
		return false
	})
	w.claim(cut, session)
	w.report(cut, func(s *v1alpha1.NodeJobStatus) { s.Cut = &v1alpha1.CutStatus{Number: 1} })
	require.NoError(w.t, w.client.Patch(w.ctx, b, merge(`{"spec":{"cancel":true}}`)))
	l.eventually("it is cancelled", func() bool {
		w.refresh(b)
		reason, _ := ready(b.Status.Conditions)
		return reason == plan.ReasonCancelled
	})
	if early {
		require.NoError(w.t, w.client.Delete(w.ctx, vm))
		w.disksGo(b)
		w.failJob(cut, v1alpha1.ReasonVolumeGone, "the volume is gone", false)
	} else {
		w.failJob(cut, "EngineError", "it was interrupted", true)
	}
	l.eventually("it has ended", func() bool {
		w.removes(session)
		w.refresh(b)
		reason, _ := progressing(b)
		return b.Status.Phase == v1alpha1.BackupFailed && reason == plan.ReasonCleanedUp
	})
	if !early {
		require.NoError(w.t, w.client.Delete(w.ctx, vm))
		w.disksGo(b)
	}
	require.NoError(w.t, w.client.Delete(w.ctx, b))
	l.eventually("it is gone", func() bool { return !w.refresh(b) })
	l.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
	l.stop()
	return l.ended.Load()
}

// doomedLeader is a coordinator that ends at one of its writes, of which the API
// server never hears, and is followed by another one.
type doomedLeader struct {
	*world
	writes atomic.Int64
	at     int64
	ended  atomic.Bool // at its write
	heir   bool        // another one runs
	stop   func()
}

// doomed starts a coordinator that ends at its k-th write.
func (w *world) doomed(k int) *doomedLeader {
	w.t.Helper()
	l := &doomedLeader{world: w, at: int64(k)}
	config := w.config
	w.config = rest.CopyConfig(config)
	w.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return l.over(next) })
	_, l.stop = w.start("one")
	w.config = config
	return l
}

// over is the transport of the process: after its last write nothing it asks is
// heard.
func (l *doomedLeader) over(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		write := r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases/") && !strings.Contains(r.URL.Path, "/events")
		if l.ended.Load() || write && l.writes.Add(1) == l.at {
			l.ended.Store(true)
			return nil, fmt.Errorf("the process has ended")
		}
		return next.RoundTrip(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// eventually is the world's, and starts the next process where one has ended. It
// has the same identity, as a container that is started again, and so leads at
// once.
func (l *doomedLeader) eventually(what string, ok func() bool) {
	l.t.Helper()
	l.world.eventually(what, func() bool {
		if l.ended.Load() && !l.heir {
			l.heir = true
			l.stop()
			_, l.stop = l.start("one")
		}
		return ok()
	})
}
