package dashboards

//lint:file-ignore SA1019 the second schema is loaded by the newest Grafana only, this one by all in use

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"hayloft.dev/metrics"
	"hayloft.dev/metrics/query"
)

func TestFilesAreUpToDate(t *testing.T) {
	files, err := Files()
	require.NoError(t, err)
	for name, want := range files {
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "%s: run make generate", name)
	}
	for _, pattern := range []string{"*.json", "*.yaml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range found {
			require.Contains(t, files, name, "nobody makes it")
		}
	}
}

// TestFilesAreWhatGrafanaPublishes reads the shipped files with Grafana's types,
// which refuse what they do not know.
func TestFilesAreWhatGrafanaPublishes(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, d := range All() {
		data, err := os.ReadFile(d.Name + ".json")
		require.NoError(t, err)
		var read dashboard.Dashboard
		var problems cog.BuildErrors // which is returned empty, as an error, when there are none
		if err := read.UnmarshalJSONStrict(data); !errors.As(err, &problems) {
			require.NoError(t, err, d.Name)
		}
		require.Empty(t, problems, d.Name)
		require.NoError(t, read.Validate(), d.Name)
		require.Equal(t, "hayloft-"+d.Name, *read.Uid)
	}
}

func TestSidecarLoadsThem(t *testing.T) {
	data, err := os.ReadFile(ConfigMaps)
	require.NoError(t, err)
	objects := strings.Split(string(data), "\n---\n")[1:]
	require.Len(t, objects, len(All()))
	for i, d := range All() {
		var o corev1.ConfigMap
		require.NoError(t, yaml.UnmarshalStrict([]byte(objects[i]), &o))
		require.Equal(t, "1", o.Labels["grafana_dashboard"])
		shipped, err := os.ReadFile(d.Name + ".json")
		require.NoError(t, err)
		require.Equal(t, string(shipped), o.Data["hayloft-"+d.Name+".json"])
	}
}

// TestEachQueryAsksForWhatIsTold: metrics and labels exist; what a variable in a
// query is called exists, too.
func TestEachQueryAsksForWhatIsTold(t *testing.T) {
	variable := regexp.MustCompile(`\$\{?([a-zA-Z_]+)\}?`)
	for _, d := range All() {
		known := []string{"__rate_interval", "datasource"}
		for _, v := range d.Variables {
			known = append(known, v.Name)
			require.NoError(t, query.Check(v.Query), "%s: variable %s", d.Name, v.Name)
		}
		for _, r := range d.Rows {
			for _, p := range r.Panels {
				require.NotEmpty(t, p.Queries, "%s: %s", d.Name, p.Title)
				for _, q := range p.Queries {
					require.NoError(t, query.Check(q.Expr), "%s: %s", d.Name, p.Title)
					for _, used := range variable.FindAllStringSubmatch(q.Expr, -1) {
						require.Contains(t, known, used[1], "%s: %s", d.Name, p.Title)
					}
				}
			}
		}
	}
}

// unseen are metrics that no dashboard shows, with why.
var unseen = map[string]string{
	"hayloft_agent_session":                    "hayloft_node_agent_alive tells it from outside",
	"hayloft_agent_cuts_discarded_total":       "rare; the cut window shows why",
	"hayloft_points_failed":                    "hayloft_point_failures_total over time",
	"hayloft_points_of_gone_vms":               "for whoever cleans up",
	"hayloft_job_duration_seconds":             "hayloft_agent_job_duration_seconds",
	"hayloft_queue_jobs":                       "hayloft_jobs",
	"hayloft_restored_bytes_total":             "hayloft_agent_moved_bytes_total",
	"hayloft_schedule_interval_seconds":        "for alerts",
	"hayloft_schedule_since_timestamp_seconds": "for alerts",
}

// TestEachMetricIsSeen: what nobody looks at need not be told.
func TestEachMetricIsSeen(t *testing.T) {
	var all strings.Builder
	for _, d := range All() {
		for _, r := range d.Rows {
			for _, p := range r.Panels {
				for _, q := range p.Queries {
					all.WriteString(q.Expr + "\n")
				}
			}
		}
	}
	for _, m := range metrics.Catalog() {
		seen := regexp.MustCompile(`\b` + m.Name + `(?:_bucket|_count|_sum)?\b`).MatchString(all.String())
		_, excused := unseen[m.Name]
		require.True(t, seen != excused, "%s: seen %v, excused %v", m.Name, seen, excused)
	}
}
