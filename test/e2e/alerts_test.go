package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"hayloft.dev/test/harness"
)

// alertRules is a file of the shipped alerts as Prometheus reads them; sooner tells how
// many times sooner an alert fires.
func alertRules(t testing.TB, sooner func(alert string) int) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(moduleRoot(t), "metrics", "alerts", "prometheusrule.yaml"))
	require.NoError(t, err)
	var object struct {
		Spec struct {
			Groups []map[string]any `json:"groups"`
		} `json:"spec"`
	}
	require.NoError(t, yaml.Unmarshal(data, &object))
	for _, group := range object.Spec.Groups {
		for _, r := range group["rules"].([]any) {
			rule := r.(map[string]any)
			lasts, err := time.ParseDuration(rule["for"].(string))
			require.NoError(t, err)
			rule["for"] = fmt.Sprintf("%dms", lasts.Milliseconds()/int64(sooner(rule["alert"].(string))))
		}
	}
	rules, err := yaml.Marshal(object.Spec)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(file, rules, 0o644))
	return file
}

// States of alerts.
const (
	quiet   = "quiet"
	pending = "pending"
	firing  = "firing"
)

// alertsFollow has agents and coordinators die and come back, and the shipped alerts
// fire for that and for what is wrong already, and recover. Those for which there is
// no cause never have. Whether each fires after its own time, and stays quiet else,
// promtool's tests show (metrics/alerts), of made-up series.
func (w *world) alertsFollow(p *harness.Prometheus) {
	w.t.Helper()
	for name, state := range map[string]string{
		"HayloftTargetUnreachable":            firing, // of the dead target
		"HayloftScheduleSuspended":            firing, // whose runs failed
		"HayloftRefreshIntervalMisconfigured": firing, // Longhorn's, and that of our target
		"HayloftAgentMissing":                 quiet,
		"HayloftNoLeader":                     quiet,
	} {
		w.awaitAlert(p, name, state)
	}
	node := w.Nodes[0].Name
	w.agents[node].Kill(w.t)
	w.awaitAlert(p, "HayloftAgentMissing", firing)
	w.startAgent(node, harness.ProgramOptions{})
	w.scrapeAll(p)
	w.awaitAlert(p, "HayloftAgentMissing", quiet)

	for _, c := range w.coordinators {
		c.Kill(w.t)
	}
	w.awaitAlert(p, "HayloftNoLeader", firing)
	w.startCoordinator("coordinator-3", harness.ProgramOptions{})
	w.scrapeAll(p)
	w.awaitAlert(p, "HayloftNoLeader", quiet)
	w.awaitAlert(p, "HayloftScheduleSuspended", firing) // whoever leads
	w.rulesHold(p)
	require.Subset(w.t, []string{
		"HayloftTargetUnreachable", "HayloftScheduleSuspended", "HayloftRefreshIntervalMisconfigured", "HayloftAgentMissing", "HayloftNoLeader",
	}, w.fired(p))
}

// fired are the alerts that have.
func (w *world) fired(p *harness.Prometheus) (names []string) {
	w.t.Helper()
	var answer struct {
		Result []struct{ Metric map[string]string }
	}
	require.NoError(w.t, p.Get("query", url.Values{"query": {`count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1d]))`}}, &answer))
	for _, r := range answer.Result {
		names = append(names, r.Metric["alertname"])
	}
	return names
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

func (w *world) awaitAlert(p *harness.Prometheus, name, state string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("alert %s: %s", name, state), func() (bool, string) {
		alerts, err := p.Alerts()
		is := quiet
		switch states := alerts[name]; {
		case slices.Contains(states, firing):
			is = firing
		case len(states) > 0:
			is = pending
		}
		return err == nil && is == state, fmt.Sprint(alerts, err)
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

// unreachable is what a target without a service is told by. In a stress run, which is
// shorter than the alert's ten minutes, it fires sooner.
const unreachable = "HayloftTargetUnreachable"

func soonerInStress(alert string) int {
	if alert == unreachable {
		return 10
	}
	return 1
}

// alertsOfStress: of a target that is away one of the alerts has told, whoever led.
// Agents and leaders that are killed and come back soon are told of by none, but that
// leases change hands, if it is often. Every rule was evaluated without an error. What
// fires after a day (unprotected VMs) or hours (no good point) is for promtool's tests.
func (s *stressRun) alertsOfStress(p *harness.Prometheus) {
	s.t.Helper()
	s.rulesHold(p)
	s.awaitAlert(p, unreachable, firing)
	for _, name := range s.fired(p) {
		require.Contains(s.t, []string{unreachable, "HayloftLeaseChurn"}, name)
	}
}
