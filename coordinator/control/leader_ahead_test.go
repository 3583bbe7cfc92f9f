package control_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// noStatus holds the statuses of points up until the process ends, which it does
// without having written one.
type noStatus struct {
	next  http.RoundTripper
	asked atomic.Bool
	ended chan struct{}
}

func (n *noStatus) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/vmbackups/") {
		n.asked.Store(true)
		<-n.ended
		return nil, errKilled
	}
	return n.next.RoundTrip(r)
}

// A leader has made the first job of each of many points, and ends before it has
// recorded any. No agent is given a job that no point records. The next leader keeps to
// those that are what it decides itself, and to no others: what was changed meanwhile
// is begun anew, and what is not wanted any more leaves nothing.
func TestTheLeaderEndsBetweenFirstJobsAndTheirPoints(t *testing.T) {
	t.Parallel()
	const crowd, replaced, cancelled, deleted, vmGone, unchanged = 24, 0, 1, 2, 3, 4
	w := newWorld(t)
	session, _ := w.session("n1")
	w.agent(session)
	var all []*v1alpha1.VMBackup
	for i := range crowd {
		vm := fmt.Sprintf("vm-%d", i)
		w.vm(vm)
		b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.ns, Name: "of-" + vm, Finalizers: []string{v1alpha1.FinalizerData},
			Labels: map[string]string{v1alpha1.LabelSchedule: "s", v1alpha1.LabelVM: vm},
		}}
		b.Spec.VM, b.Spec.Type = vm, v1alpha1.TypeSnapshot
		w.create(b)
		all = append(all, b)
	}
	made := w.watchCuts()
	direct := w.config
	first := &noStatus{ended: make(chan struct{})}
	w.config = rest.CopyConfig(direct)
	w.config.Wrap(func(next http.RoundTripper) http.RoundTripper { first.next = next; return first })
	_, stop := w.start("one")
	w.config = direct
	w.eventually("a status is to be written", first.asked.Load)
	// All have one, unless the machine was so busy that the rush had its time before.
	has := map[types.UID]bool{}
	for _, j := range w.jobs() {
		has[j.Spec.Owner.UID] = true
	}
	t.Logf("%d of %d have a job", len(has), crowd)
	require.Greater(t, len(has), unchanged)
	slices.SortStableFunc(all, func(a, b *v1alpha1.VMBackup) int {
		switch {
		case has[a.UID] == has[b.UID]:
			return 0
		case has[a.UID]:
			return -1
		}
		return 1
	})
	nobodyHas := func() bool {
		for _, j := range w.jobs() {
			if j.Spec.NodeName != "" {
				return false
			}
		}
		return true
	}
	w.holds("no job is given that no point records", time.Second, nobodyHas)
	close(first.ended)
	stop()
	require.True(t, nobodyHas())
	for _, b := range all {
		w.refresh(b)
		require.Nil(t, b.Status.StartedAt)
	}

	vm := &metav1.PartialObjectMetadata{}
	vm.SetGroupVersionKind(w.vmObject("any", "any").GroupVersionKind())
	vm.SetNamespace(w.ns)
	for _, i := range []int{replaced, vmGone} {
		vm.SetName(all[i].Spec.VM)
		require.NoError(t, w.client.Delete(w.ctx, vm))
	}
	w.create(w.vmObject(all[replaced].Spec.VM, all[replaced].Spec.VM+"-root"))
	require.NoError(t, w.client.Patch(w.ctx, all[cancelled], merge(`{"spec":{"cancel":true}}`)))
	require.NoError(t, w.client.Delete(w.ctx, all[deleted]))

	w.start("one") // as a container that is started again, it leads at once
	for i, b := range all {
		switch i {
		case deleted:
			w.eventually("it is gone", func() bool { return !w.refresh(b) })
			continue
		case cancelled, vmGone:
			w.awaitBackup(b, v1alpha1.BackupFailed)
			continue
		}
		w.awaitBackup(b, v1alpha1.BackupReady)
	}
	w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
	reason, _ := ready(all[cancelled].Status.Conditions)
	require.Equal(t, plan.ReasonCancelled, reason)
	require.Len(t, all[replaced].Status.Disks, 1, "it is of the VM as it is now")
	require.True(t, meta.IsStatusConditionTrue(all[replaced].Status.Conditions, v1alpha1.ConditionReady))
	for i, b := range all {
		cuts := made(b.UID)
		switch i {
		case replaced:
			require.Equal(t, []bool{false, true}, cuts, "the second one alone was given")
		case cancelled, deleted, vmGone:
			require.Equal(t, []bool{false}, cuts, "nobody was given it")
		default:
			require.GreaterOrEqual(t, i, unchanged)
			require.Equal(t, []bool{true}, cuts, "it was made once")
		}
	}
}

// watchCuts tells of each cut job that a point has had whether it was given to an agent.
func (w *world) watchCuts() func(owner types.UID) []bool {
	w.t.Helper()
	c, err := client.NewWithWatch(w.config, client.Options{Scheme: w.client.Scheme()})
	require.NoError(w.t, err)
	watched, err := c.Watch(w.ctx, &v1alpha1.NodeJobList{}, client.InNamespace(w.own))
	require.NoError(w.t, err)
	w.t.Cleanup(watched.Stop)
	var mu sync.Mutex
	order, given := map[types.UID][]types.UID{}, map[types.UID]bool{}
	go func() {
		for e := range watched.ResultChan() {
			j, ok := e.Object.(*v1alpha1.NodeJob)
			if !ok || j.Name != names.Job("cut", j.Spec.Owner.UID, "", 1) {
				continue
			}
			mu.Lock()
			if _, known := given[j.UID]; !known {
				order[j.Spec.Owner.UID] = append(order[j.Spec.Owner.UID], j.UID)
			}
			given[j.UID] = given[j.UID] || j.Spec.NodeName != ""
			mu.Unlock()
		}
	}()
	return func(owner types.UID) []bool {
		mu.Lock()
		defer mu.Unlock()
		var out []bool
		for _, uid := range order[owner] {
			out = append(out, given[uid])
		}
		return out
	}
}
