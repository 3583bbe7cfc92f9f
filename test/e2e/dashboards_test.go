package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/metrics/dashboards"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// beyond are queries that have no data here: there is no Harvester, and the
// duration of refreshes shows with a target's second one, minutes later.
var beyond = regexp.MustCompile(`hayloft_harvester_refresh_(interval|misconfigured)|hayloft_refresh_duration_seconds`)

// TestDashboards has the real Prometheus scrape agents and coordinators while
// there are backups, restores and failures of all kinds, and asks it for what each
// panel and each variable of the dashboards shows: all of them have data. Then the
// shipped alerts, which are loaded beside that, are to notice what is done.
func TestDashboards(t *testing.T) {
	t.Parallel()
	s := harness.NewStack(t, harness.StackOptions{WithWebhook: true})
	w := bare(t, s)
	var programs []*harness.Program
	var apis []string // addresses
	for _, n := range s.Nodes {
		programs = append(programs, w.startAgent(n.Name, harness.ProgramOptions{}))
	}
	for _, name := range []string{"coordinator-1", "coordinator-2"} {
		apis = append(apis, harness.FreeAddress(t))
		programs = append(programs, w.startCoordinator(name, harness.ProgramOptions{Args: []string{
			"--api-listen", apis[len(apis)-1], "--api-names", "127.0.0.1",
		}}))
	}
	w.awaitServed(w.coordinators...)
	p := harness.StartPrometheus(t, time.Second, alertRules(t), programs...)
	w.awaitData(p, `sum(hayloft_leader)`) // what is counted from here on, it sees begin

	w.busy()
	values := map[string]string{"namespace": w.ns, "vm": "web", "target": ".*", "__rate_interval": "30s"}
	var panels []string
	for _, d := range dashboards.All() {
		for _, v := range d.Variables {
			w.awaitChoices(p, fill(v.Query, values))
		}
		for _, r := range d.Rows {
			for _, panel := range r.Panels {
				for _, q := range panel.Queries {
					if !beyond.MatchString(q.Expr) {
						panels = append(panels, fill(q.Expr, values))
					}
				}
			}
		}
	}
	w.awaitAllData(p, panels, func() { askAPIs(t, apis) })
	w.alertsFollow(p)
}

// askAPIs has the coordinators tell anybody what their HTTP API is.
func askAPIs(t *testing.T, addresses []string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // nothing is told to it
	defer transport.CloseIdleConnections()
	anybody := &http.Client{Transport: transport, Timeout: time.Minute}
	for _, address := range addresses {
		response, err := anybody.Get("https://" + address + "/api/v1/openapi.json")
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode)
	}
}

// busy has something happen of everything that dashboards show.
func (w *world) busy() {
	w.t.Helper()
	w.hookedVM("web")
	w.runningVM("unprotected", 16*mib)
	large := resource.MustParse("10Gi")
	quota := &v1alpha1.SnapshotQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "q"}}
	quota.Spec.Limit, quota.Spec.VMLimit = &large, &large
	schedule := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "yearly"}}
	schedule.Spec.VM, schedule.Spec.Target, schedule.Spec.Cron = "web", w.Target, "@yearly"
	dead := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "dead-" + w.ns}}
	dead.Spec.S3 = &v1alpha1.S3Target{Endpoint: "http://127.0.0.1:1", Insecure: true, Bucket: "backups", Region: "eu-1"}
	var alive v1alpha1.BackupTarget
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Name: w.Target}, &alive))
	dead.Spec.CredentialSecret = alive.Spec.CredentialSecret
	for _, o := range []client.Object{quota, schedule, dead} {
		require.NoError(w.t, w.c.Create(w.ctx, o))
		w.t.Cleanup(func() { _ = w.c.Delete(context.WithoutCancel(w.ctx), o) })
	}
	scheduled := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.ns, Name: "b1", Labels: map[string]string{v1alpha1.LabelSchedule: string(schedule.UID)},
	}}
	scheduled.Spec.VM, scheduled.Spec.Target = "web", w.Target
	require.NoError(w.t, w.c.Create(w.ctx, scheduled))
	w.awaitBackup("b1", v1alpha1.BackupReady)
	w.snapshot("s1", "web")
	w.awaitBackup("s1", v1alpha1.BackupReady)

	w.patch(w.vm("web"), fmt.Sprintf(`{"metadata":{"annotations":{%q:"error"}}}`, freezeFault))
	required := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "required"}}
	required.Spec.VM, required.Spec.Target = "web", w.Target
	required.Spec.Quiesce = v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, DeadlineSeconds: 1}
	require.NoError(w.t, w.c.Create(w.ctx, required))
	w.awaitBackup("required", v1alpha1.BackupFailed)
	refused := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "refused"}}
	refused.Spec.VM, refused.Spec.Target = "web", "no-such-target"
	require.Contains(w.t, denied(w.c.Create(w.ctx, refused)), "no-such-target")

	w.restore("r1", "b1", "copy")
	w.awaitRestore("r1", v1alpha1.RestoreReady)
	fails := &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "r2"}}
	fails.Spec.Backup, fails.Spec.NewVM = "b1", "copy2"
	fails.Spec.StorageClasses = map[string]string{"longhorn": "no-such-class"}
	w.withoutWebhook(func() { require.NoError(w.t, w.c.Create(w.ctx, fails)) })
	w.awaitRestore("r2", v1alpha1.RestoreFailed)
}

// hookedVM makes a VM whose guest can be frozen, with hooks, which nobody here can run:
// that is counted, too.
func (w *world) hookedVM(name string) {
	w.t.Helper()
	w.filled(name+"-root", 16*mib, 1)
	w.filled(name+"-data1", 16*mib, 2)
	w.mustMake(w.vmSpec(name, []string{name + "-root", name + "-data1"}, func(vm *kubevirt.VirtualMachine) {
		vm.Annotations = map[string]string{withAgent: "connected"}
		vm.Spec.Template.ObjectMeta.Annotations = map[string]string{
			"pre.hook.hayloft.dev/command": "/bin/flush", "pre.hook.hayloft.dev/on-error": "Continue",
		}
	}))
	w.awaitRunning(name)
}

// fill puts values in the place of variables.
func fill(query string, values map[string]string) string {
	return regexp.MustCompile(`\$\{?([a-zA-Z_]+)\}?`).ReplaceAllStringFunc(query, func(v string) string {
		return values[strings.Trim(v, "${}")]
	})
}

// awaitData waits until an expression has at least one value that is a number.
func (w *world) awaitData(p *harness.Prometheus, expr string) {
	w.t.Helper()
	w.eventually("data for "+expr, func() (bool, string) {
		err := w.hasData(p, expr)
		return err == nil, fmt.Sprint(err)
	})
}

// awaitAllData does so for many, and tells of all that have none. again is done
// before each look, for what shows only while it goes on.
func (w *world) awaitAllData(p *harness.Prometheus, exprs []string, again func()) {
	w.t.Helper()
	w.eventually("data for every panel", func() (bool, string) {
		again()
		var none []string
		for _, expr := range exprs {
			if err := w.hasData(p, expr); err != nil {
				none = append(none, fmt.Sprintf("%s (%v)", expr, err))
			}
		}
		return len(none) == 0, strings.Join(none, "\n")
	})
}

func (w *world) hasData(p *harness.Prometheus, expr string) error {
	var answer struct {
		Result []struct {
			Value [2]any // time, number as a text
		}
	}
	if err := p.Get("query", url.Values{"query": {expr}}, &answer); err != nil {
		return err
	}
	for _, series := range answer.Result {
		text, _ := series.Value[1].(string)
		if v, err := strconv.ParseFloat(text, 64); err == nil && v == v {
			return nil
		}
	}
	return fmt.Errorf("%d series, none with a number", len(answer.Result))
}

// awaitChoices waits until a variable's query, label_values(selector, label), has
// something to choose.
func (w *world) awaitChoices(p *harness.Prometheus, query string) {
	w.t.Helper()
	parts := regexp.MustCompile(`^label_values\((.*), *([a-z_]+)\)$`).FindStringSubmatch(query)
	require.Len(w.t, parts, 3, query)
	w.eventually("choices of "+query, func() (bool, string) {
		var choices []string
		err := p.Get("label/"+parts[2]+"/values", url.Values{"match[]": {parts[1]}}, &choices)
		return err == nil && len(choices) > 0, fmt.Sprint(err)
	})
}
