package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestSnapshotQuota: points are let in while the limits allow it, two at once
// cannot both slip through, and deleting makes room again.
func TestSnapshotQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	w.runningVM("vm", 32*mib)
	w.guest("quiet", "vm")
	// The first point takes what the disk holds now: 24 MiB of random data and
	// the guest's records.
	w.awaitActualSize("vm-root", 24*mib)
	q := &v1alpha1.SnapshotQuota{}
	q.Namespace, q.Name = w.ns, "q"
	limit := resource.MustParse("40Mi")
	q.Spec.Limit = &limit
	require.NoError(t, w.c.Create(w.ctx, q))
	used := func() int64 {
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKeyFromObject(q), q))
		if q.Status.Used == nil {
			return -1
		}
		return q.Status.Used.Value()
	}
	w.eventually("the quota to be known", func() (bool, string) { n := used(); return n == 0, fmt.Sprint(n) })

	for i := range 4 {
		w.snapshot(fmt.Sprintf("at-once-%d", i), "vm")
	}
	let, refused := "", 0
	for i := range 4 {
		name := fmt.Sprintf("at-once-%d", i)
		w.eventually(name+" to end", func() (bool, string) {
			b := w.pointNow(name)
			return b.Status.Phase == v1alpha1.BackupReady || b.Status.Phase == v1alpha1.BackupFailed, words(b.Status)
		})
		b := w.pointNow(name)
		if b.Status.Phase == v1alpha1.BackupReady {
			let = name
			require.NotNil(t, b.Status.ReservedBytes)
			continue
		}
		refused++
		reason, message := readyWords(t, b)
		require.Equal(t, "QuotaExceeded", reason)
		require.Contains(t, message, "SnapshotQuota q (spec.limit) lets the snapshots of this namespace take 40Mi")
	}
	require.NotEmpty(t, let, "one of four fits")
	require.Equal(t, 3, refused, "and no more than one, though all were asked for at once")

	w.eventually("the quota to tell what is used", func() (bool, string) {
		n := used()
		vm := q.Status.VMs["vm"]
		return n >= 24*mib && n <= 33*mib && vm.Value() == n, fmt.Sprint(n)
	})

	w.deletePoints(let)
	w.awaitGone(let)
	w.eventually("the quota to tell that nothing is used", func() (bool, string) { n := used(); return n == 0, fmt.Sprint(n) })
	w.awaitActualSize("vm-root", 24*mib)
	w.snapshot("fits-again", "vm")
	w.awaitBackup("fits-again", v1alpha1.BackupReady)
	require.Contains(t, w.metrics(), fmt.Sprintf("hayloft_quota_limit_bytes{namespace=%q,quota=\"q\"} %g", w.ns, float64(40*mib)))
	w.nothingLeft()
}

// metrics are those of all coordinators.
func (w *world) metrics() string {
	w.t.Helper()
	var all strings.Builder
	for _, p := range w.coordinators {
		response, err := http.Get(p.URL + "/metrics")
		require.NoError(w.t, err)
		_, err = io.Copy(&all, response.Body)
		response.Body.Close()
		require.NoError(w.t, err)
	}
	return all.String()
}

// awaitActualSize waits until Longhorn tells that the volume of a claim takes at
// least so many bytes.
func (w *world) awaitActualSize(claim string, bytes int64) {
	w.t.Helper()
	volume := w.volumeOf(claim)
	w.eventually(fmt.Sprintf("volume %s to take %d bytes", volume, bytes), func() (bool, string) {
		var v longhorn.Volume
		err := w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: volume}, &v)
		return err == nil && v.Status.ActualSize >= bytes, fmt.Sprint(v.Status.ActualSize)
	})
}
