package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/metrics/dashboards"
	"hayloft.dev/test/harness"
)

// TestDashboards has the real Prometheus scrape agents and coordinators while
// there are backups, restores and failures of all kinds, and asks it for what each
// panel and each variable of the dashboards shows: all of them have data. So has one
// that takes native histograms. Then the shipped alerts, which are loaded beside that,
// are to notice what is done.
func TestDashboards(t *testing.T) {
	t.Parallel()
	s := harness.NewStack(t, harness.StackOptions{WithWebhook: true})
	w := bare(t, s)
	var programs []*harness.Program
	var apis []string // addresses
	for _, n := range s.Nodes {
		programs = append(programs, w.startAgent(n.Name, harness.ProgramOptions{}))
	}
	w.longhornsTarget() // which is looked at when a leader begins
	for _, name := range []string{"coordinator-1", "coordinator-2"} {
		apis = append(apis, harness.FreeAddress(t))
		programs = append(programs, w.startCoordinator(name, harness.ProgramOptions{Args: append([]string{
			"--api-listen", apis[len(apis)-1], "--api-names", "127.0.0.1",
		}, oftenRefreshed...)}))
	}
	w.awaitServed(w.coordinators...)
	rules := alertRules(t, func(string) int { return 60 })
	p := harness.StartPrometheus(t, time.Second, harness.PrometheusOptions{Rules: rules}, programs...)
	native := harness.StartPrometheus(t, time.Second, harness.PrometheusOptions{Rules: rules, Native: true}, programs...)
	w.awaitData(p, `sum(hayloft_leader)`) // what is counted from here on, it sees begin
	w.awaitData(native, `sum(hayloft_leader)`)

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
					// Where a panel says zero in place of nothing, that is no data.
					panels = append(panels, strings.TrimSuffix(fill(q.Expr, values), " or vector(0)"))
				}
			}
		}
	}
	w.awaitAllData(p, panels, func() { askAPIs(t, apis) })
	w.awaitAllData(native, panels, func() { askAPIs(t, apis) })
	require.Error(t, w.hasData(native, `hayloft_agent_job_duration_seconds_count`), "it has classic histograms")
	w.rulesHold(native)
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

// awaitAllData does so for many, each of which may have its data at another moment,
// and tells of all that had none. again is done before each look, for what shows only
// while it goes on.
func (w *world) awaitAllData(p *harness.Prometheus, exprs []string, again func()) {
	w.t.Helper()
	left := slices.Clone(exprs)
	w.eventually("data for every panel", func() (bool, string) {
		again()
		var none []string
		left = slices.DeleteFunc(left, func(expr string) bool {
			err := w.hasData(p, expr)
			if err != nil {
				none = append(none, fmt.Sprintf("%s (%v)", expr, err))
			}
			return err == nil
		})
		return len(left) == 0, strings.Join(none, "\n")
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
