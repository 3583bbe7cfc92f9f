package alerts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"hayloft.dev/metrics"
	"hayloft.dev/metrics/query"
)

// eachAlert runs a test for every alert.
func eachAlert(t *testing.T, test func(t *testing.T, r Rule)) {
	t.Helper()
	groups, err := Groups()
	require.NoError(t, err)
	require.NotEmpty(t, groups)
	for _, g := range groups {
		require.NotEmpty(t, g.Rules, g.Name)
		for _, r := range g.Rules {
			t.Run(r.Alert, func(t *testing.T) { test(t, r) })
		}
	}
}

// unitTests is a file of tests as promtool reads them.
type unitTests struct {
	Tests []struct {
		Name   string `json:"name"`
		Alerts []struct {
			Name     string `json:"alertname"`
			Expected []any  `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	} `json:"tests"`
}

// TestEachAlertFiresStaysQuietAndRecovers: every alert has a test in which it
// fires and has recovered by the end, and one in which it never fires.
func TestEachAlertFiresStaysQuietAndRecovers(t *testing.T) {
	eachAlert(t, func(t *testing.T, r Rule) {
		data, err := os.ReadFile(filepath.Join("testdata", r.Alert+".yaml"))
		require.NoError(t, err)
		var all unitTests
		require.NoError(t, yaml.Unmarshal(data, &all))
		fires, recovers, quiet := false, false, false
		for _, test := range all.Tests {
			fired := false
			for _, a := range test.Alerts {
				require.Equal(t, r.Alert, a.Name, test.Name)
				recovers = recovers || fired && len(a.Expected) == 0
				fired = fired || len(a.Expected) > 0
			}
			fires = fires || fired
			quiet = quiet || !fired && strings.Contains(test.Name, "stays quiet")
		}
		require.True(t, fires, "no test in which it fires")
		require.True(t, recovers, "no test in which it recovers")
		require.True(t, quiet, "no test in which it stays quiet")

		dir := rules(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "test.yaml"), data, 0o644))
		promtool(t, "test", "rules", filepath.Join(dir, "test.yaml"))
	})
}

func TestRulesAreInOrder(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(rules(t), "rules.yaml"))
}

// rules writes the rules as Prometheus itself reads them, without the operator's
// object around them.
func rules(t *testing.T) (dir string) {
	t.Helper()
	var object struct {
		Spec any `json:"spec"`
	}
	require.NoError(t, yaml.Unmarshal(manifest, &object))
	data, err := yaml.Marshal(object.Spec)
	require.NoError(t, err)
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.yaml"), data, 0o644))
	return dir
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	require.NoError(t, err, "promtool comes with the Debian package prometheus: run make deps")
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestEachAlertIsDescribed(t *testing.T) {
	eachAlert(t, func(t *testing.T, r Rule) {
		require.NoError(t, query.Check(r.Expr))
		require.Regexp(t, "^Hayloft[A-Z]", r.Alert)
		require.NotEmpty(t, r.For)
		require.Contains(t, []string{"warning", "critical"}, r.Labels["severity"])
		require.Regexp(t, regexp.MustCompile(`(?s)\.$`), r.Annotations["summary"])
		require.Regexp(t, regexp.MustCompile(`(?s)\.$`), r.Annotations["description"])
		require.Equal(t, "https://hayloft.dev/docs/runbooks/"+r.Alert+".md", r.Annotations["runbook_url"])
		runbook, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbooks", r.Alert+".md"))
		require.NoError(t, err)
		for _, part := range []string{"# " + r.Alert, "## What it means", "## What to do"} {
			require.Contains(t, string(runbook), part+"\n", "the runbook lacks a part")
		}
		require.Contains(t, string(runbook), "    kubectl ", "the runbook tells no command")
	})
}

// TestEachAlertOutlastsItsLeader: what only the leader tells is asked for as it was
// told last, or an alert would begin anew with each leader.
func TestEachAlertOutlastsItsLeader(t *testing.T) {
	asked := 0
	eachAlert(t, func(t *testing.T, r Rule) {
		for _, m := range metrics.Catalog() {
			if m.By != metrics.Leader {
				continue
			}
			for _, at := range regexp.MustCompile(`.*\b`+m.Name+`\b`).FindAllString(r.Expr, -1) {
				asked++
				require.True(t, strings.HasSuffix(at, "last_over_time("+m.Name), at)
			}
		}
	})
	require.NotZero(t, asked)
}

func TestEachRunbookHasItsAlert(t *testing.T) {
	alerts := map[string]bool{}
	eachAlert(t, func(_ *testing.T, r Rule) { alerts[r.Alert] = true })
	files, err := filepath.Glob("../../docs/runbooks/*.md")
	require.NoError(t, err)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".md")
		require.True(t, alerts[name], fmt.Sprintf("%s: there is no such alert", name))
	}
}
