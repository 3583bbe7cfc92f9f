package control_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Deletions on a target that accepts and never answers hold up nothing on others, say
// why they wait, and go on by themselves when it answers again.
func TestASilentTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.TargetWorkers, w.opts.Plan.WorkRetryMax = 2, 200*time.Millisecond
	w.opts.ProbeEvery, w.opts.ProbeFloor = 300*time.Millisecond, 100*time.Millisecond
	w.start("one")
	session, _ := w.session("n1")
	w.agent(session)
	w.vm("web")
	w.vm("shop")
	silent, well := w.target("silent"), w.target("well")
	var deleted []*v1alpha1.VMBackup
	for _, name := range []string{"p1", "p2", "p3"} {
		b := w.backup(name, "web", silent.Name)
		w.awaitBackup(b, v1alpha1.BackupReady)
		deleted = append(deleted, b)
	}
	w.fake.silence(silent.Name, true)
	for _, b := range deleted {
		require.NoError(t, w.client.Delete(w.ctx, b))
	}
	w.awaitBackup(w.backup("elsewhere", "shop", well.Name), v1alpha1.BackupReady)
	for _, b := range deleted {
		w.eventually("it says why it waits", func() bool {
			w.refresh(b)
			reason, message := progressing(b)
			return reason == plan.ReasonDeletionHeldUp && strings.Contains(message, "it gave no answer in the time allowed")
		})
	}
	w.fake.mu.Lock()
	hung, most := w.fake.hung, w.fake.most
	w.fake.mu.Unlock()
	require.Zero(t, hung, "nothing waits for the target but probes")
	require.LessOrEqual(t, most, 1)
	w.patch(silent, fmt.Sprintf(`{"metadata":{"annotations":{%q:"list 1"}}}`, v1alpha1.AnnotationLeftovers))
	w.eventually("who asked for a look for leftovers is told why there is none", func() bool {
		w.refresh(silent)
		l := silent.Status.Leftovers
		return l != nil && l.Requested == "list 1" && strings.Contains(l.Message, "it gave no answer in the time allowed")
	})
	require.Empty(t, w.fake.called("leftovers"), "none is begun: it would go on when the target answers, and keep the others waiting")

	w.fake.silence(silent.Name, false)
	for _, b := range deleted {
		w.eventually("it goes when the target answers", func() bool { return !w.refresh(b) })
	}
}
