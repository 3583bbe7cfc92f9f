package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"hayloft.dev/test/harness"
)

// alertRules is a file of the shipped alerts as Prometheus reads them.
func alertRules(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(moduleRoot(t), "metrics", "alerts", "prometheusrule.yaml"))
	require.NoError(t, err)
	var object struct {
		Spec any `json:"spec"`
	}
	require.NoError(t, yaml.Unmarshal(data, &object))
	rules, err := yaml.Marshal(object.Spec)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(file, rules, 0o644))
	return file
}

// alertsFollow has agents and coordinators die and come back, and the shipped alerts
// notice both. Whether they fire after their time, and stay quiet else, promtool's
// tests show (metrics/alerts): here they are active, which no other run of the same
// expressions on made-up series shows.
func (w *world) alertsFollow(p *harness.Prometheus) {
	w.t.Helper()
	w.awaitAlert(p, "HayloftTargetUnreachable", true) // of the dead target
	w.awaitAlert(p, "HayloftAgentMissing", false)
	w.awaitAlert(p, "HayloftNoLeader", false)

	node := w.Nodes[0].Name
	w.agents[node].Kill(w.t)
	w.awaitAlert(p, "HayloftAgentMissing", true)
	w.startAgent(node, harness.ProgramOptions{})
	w.scrapeAll(p)
	w.awaitAlert(p, "HayloftAgentMissing", false)

	for _, c := range w.coordinators {
		c.Kill(w.t)
	}
	w.awaitAlert(p, "HayloftNoLeader", true)
	w.startCoordinator("coordinator-3", harness.ProgramOptions{})
	w.scrapeAll(p)
	w.awaitAlert(p, "HayloftNoLeader", false)
	w.awaitAlert(p, "HayloftTargetUnreachable", true) // of which a new leader knows at once
	w.rulesHold(p)
}

// scrapeAll has Prometheus scrape every program that runs.
func (w *world) scrapeAll(p *harness.Prometheus) {
	w.t.Helper()
	var running []*harness.Program
	for _, a := range w.agents {
		if a.Running() {
			running = append(running, a)
		}
	}
	for _, c := range w.coordinators {
		if c.Running() {
			running = append(running, c)
		}
	}
	p.Scrape(w.t, running...)
}

func (w *world) awaitAlert(p *harness.Prometheus, name string, active bool) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("alert %s to be active: %t", name, active), func() (bool, string) {
		alerts, err := p.Alerts()
		return err == nil && (alerts[name] > 0) == active, fmt.Sprint(alerts, err)
	})
}

// rulesHold: every shipped alert is loaded, and was evaluated without an error.
func (w *world) rulesHold(p *harness.Prometheus) {
	w.t.Helper()
	rules, err := p.Rules()
	require.NoError(w.t, err)
	require.GreaterOrEqual(w.t, len(rules), 12)
	for name, wrong := range rules {
		require.Empty(w.t, wrong, name)
	}
}

// alertsOfStress: agents and leaders that are killed and come back soon are told of
// by none of the alerts, but that leases change hands, if it is often. Every rule
// was evaluated without an error. What fires after a day (unprotected VMs) or hours
// (no good point) is for promtool's tests.
func (s *stressRun) alertsOfStress(p *harness.Prometheus) {
	s.t.Helper()
	s.rulesHold(p)
	var answer struct {
		Result []struct{ Metric map[string]string }
	}
	during := fmt.Sprintf("[%ds]", int(time.Since(s.began).Seconds())+1)
	require.NoError(s.t, p.Get("query", url.Values{"query": {"count by (alertname, alertstate) (count_over_time(ALERTS" + during + "))"}}, &answer))
	states := map[string][]string{} // alert -> pending, firing
	for _, r := range answer.Result {
		states[r.Metric["alertname"]] = append(states[r.Metric["alertname"]], r.Metric["alertstate"])
	}
	s.t.Logf("alerts: %v", states)
	for name, of := range states {
		if name != "HayloftLeaseChurn" {
			require.NotContains(s.t, of, "firing", name)
		}
	}
}
