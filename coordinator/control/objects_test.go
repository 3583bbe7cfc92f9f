package control_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/control"
	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
)

// scrape is what a coordinator tells, as main puts it together.
func (w *world) scrape(c *control.Controller, counted prometheus.Gatherer) string {
	w.t.Helper()
	g := &metrics.Gatherer{
		Counted: []prometheus.Gatherer{counted}, Leading: c.Leading, Since: c.Since,
		Objects: metrics.Collectors(c.Objects(), metrics.Limits{JobsPerNode: func() int { return 8 }}),
		Failed:  func(collector string, err error) { w.t.Errorf("collector %s: %v", collector, err) },
	}
	answer := httptest.NewRecorder()
	g.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	require.Equal(w.t, http.StatusOK, answer.Code, answer.Body.String())
	return answer.Body.String()
}

// TestMetricsOfObjectsAreRightAfterARestartAndGoneWithTheirObject is what peers'
// metrics are not.
func TestMetricsOfObjectsAreRightAfterARestartAndGoneWithTheirObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	registry := prometheus.NewRegistry()
	w.opts.Recorder = metrics.NewWork(registry)
	one, stopOne := w.start("one")
	session, endSession := w.mortal("n1", 4)
	vm := w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.cut(b, session)
	w.upload(b, "root", 1, session)
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)

	lastGood := fmt.Sprintf(`hayloft_vm_last_good_point_timestamp_seconds{namespace=%q,type="Backup",vm="web"} `, w.ns)
	told := func(c *control.Controller, counted prometheus.Gatherer, lines ...string) {
		t.Helper()
		w.eventually("the metrics tell of "+strings.Join(lines, ", "), func() bool {
			text := w.scrape(c, counted)
			for _, line := range lines {
				if !strings.Contains(text, "\n"+line) {
					return false
				}
			}
			return true
		})
	}
	objects := []string{
		lastGood,
		fmt.Sprintf(`hayloft_vm_protection_info{namespace=%q,state="NoSchedule",vm="web"} 1`, w.ns),
		`hayloft_points{phase="Ready",type="Backup"} 1`,
		fmt.Sprintf(`hayloft_target_ready{target=%q} 1`, b.Spec.Target),
		`hayloft_node_agent_alive{node="n1"} 1`,
		`hayloft_leader 1`,
	}
	told(one, registry, append(objects,
		`hayloft_point_duration_seconds_count{outcome="succeeded",type="Backup"} 1`,
		`hayloft_job_duration_seconds_count{outcome="succeeded",type="cut"} 1`,
		`hayloft_job_wait_seconds_count{type="backup"} 2`,
		fmt.Sprintf(`hayloft_backup_uploaded_bytes_total{target=%q} `, b.Spec.Target),
	)...)
	moment := func(text string) string {
		_, after, _ := strings.Cut(text, lastGood)
		value, _, _ := strings.Cut(after, "\n")
		return value
	}
	before := moment(w.scrape(one, registry))
	stopOne()

	fresh := prometheus.NewRegistry()
	w.opts.Recorder = metrics.NewWork(fresh)
	two, _ := w.start("two")
	told(two, fresh, objects...)
	require.Equal(t, before, moment(w.scrape(two, fresh)), "the moment of a point does not change with who tells it")

	endSession()
	told(two, fresh, `hayloft_node_agent_alive{node="n1"} 0`)
	require.NoError(t, w.client.Delete(context.Background(), vm))
	w.eventually("nothing is told of a VM that is gone", func() bool {
		return !strings.Contains(w.scrape(two, fresh), fmt.Sprintf(`{namespace=%q,type="Backup",vm="web"}`, w.ns))
	})
	told(two, fresh, fmt.Sprintf(`hayloft_points_of_gone_vms{namespace=%q,type="Backup"} 1`, w.ns))
	require.NoError(t, client.IgnoreNotFound(w.client.Delete(context.Background(), b)))
	w.eventually("nothing is told of a point that is gone", func() bool {
		return !strings.Contains(w.scrape(two, fresh), "hayloft_points_of_gone_vms{")
	})
}
