package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

var update = flag.Bool("update", false, "write the golden files anew")

func exposition(t *testing.T, g prometheus.Gatherer) []byte {
	t.Helper()
	answer := httptest.NewRecorder()
	var handler http.Handler = promhttp.HandlerFor(g, promhttp.HandlerOpts{})
	if own, ok := g.(*Gatherer); ok {
		handler = own.Handler()
	}
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, answer.Code, answer.Body.String())
	return answer.Body.Bytes()
}

// timed are values that no two runs have in common.
var timed = regexp.MustCompile(`(?m)^(hayloft_scrape_collector_duration_seconds\{.*\}) .*$|^(hayloft_build_info)\{.*\} 1$`)

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run the test with -update if this change is meant")
}

// TestExposition: everything that the catalog names is told in just that way,
// and nothing else is.
func TestExposition(t *testing.T) {
	agent := prometheus.NewRegistry()
	someAgentWork(agent)
	told := map[string]Metric{}
	for _, m := range Catalog() {
		told[m.Name] = m
	}
	for file, tt := range map[string]struct {
		from    prometheus.Gatherer
		tellers []Teller
	}{
		"coordinator.prom": {coordinator(someWorld(), true), []Teller{Leader, Coordinator}},
		"follower.prom":    {coordinator(someWorld(), false), []Teller{Coordinator}},
		"agent.prom":       {agent, []Teller{Agent}},
	} {
		t.Run(file, func(t *testing.T) {
			text := timed.ReplaceAll(exposition(t, tt.from), []byte("$1$2 1"))
			golden(t, filepath.Join("testdata", file), text)
			problems, err := promlint.New(bytes.NewReader(text)).Lint()
			require.NoError(t, err)
			require.Empty(t, problems)
			promtool(t, text, "check", "metrics")

			families := parse(t, text)
			for name, f := range families {
				m, known := told[name]
				require.True(t, known, "%s is not in the catalog", name)
				if m.By != Agent || slices.Contains(tt.tellers, Agent) {
					likeCatalog(t, m, f)
				}
			}
			for _, m := range Catalog() {
				if slices.Contains(tt.tellers, m.By) {
					require.Contains(t, families, m.Name, "the catalog names it")
				}
			}
		})
	}
}

func parse(t *testing.T, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	require.NoError(t, err)
	return families
}

func likeCatalog(t *testing.T, m Metric, f *dto.MetricFamily) {
	t.Helper()
	kinds := map[Kind]dto.MetricType{Counter: dto.MetricType_COUNTER, Gauge: dto.MetricType_GAUGE, Histogram: dto.MetricType_HISTOGRAM}
	require.Equal(t, kinds[m.Kind], f.GetType(), m.Name)
	require.Equal(t, m.Help, f.GetHelp())
	if m.Name == buildInfo.Name {
		return // its labels were cut out above
	}
	for _, metric := range f.GetMetric() {
		var labels []string
		for _, l := range metric.GetLabel() {
			labels = append(labels, l.GetName())
		}
		require.ElementsMatch(t, m.Labels, labels, m.Name)
	}
}

// promtool is Prometheus' own tool; `make deps` installs it.
func promtool(t *testing.T, input []byte, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	require.NoError(t, err, "promtool comes with the Debian package prometheus: run make deps")
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestARegistryWouldAcceptIt: the gatherer leaves out the checks that a registry
// makes at each scrape, so they are made here.
func TestARegistryWouldAcceptIt(t *testing.T) {
	_, err := prometheus.Gatherers{coordinator(someWorld(), true)}.Gather()
	require.NoError(t, err)
}

// TestTextIsWhatTheLibraryWrites: what is written here line by line is what the
// library makes of the same messages, values that need escaping among them.
func TestTextIsWhatTheLibraryWrites(t *testing.T) {
	w := someWorld()
	w.targets = append(w.targets, target("odd", false, "it said: \"no\\yes\"\nand more"))
	w.quotas[0].Status.Used = ptr.To(resource.MustParse("12345678901234"))
	g := coordinator(w, true)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(g, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	lines := func(text []byte) []string {
		all := strings.Split(string(timed.ReplaceAll(text, []byte("$1$2 1"))), "\n")
		slices.Sort(all)
		return all
	}
	require.Equal(t, lines(answer.Body.Bytes()), lines(exposition(t, g)))
}

// TestProtobufIsWhatTheLibraryWrites: what is written here field by field is the same
// messages, native histograms of what is counted among them.
func TestProtobufIsWhatTheLibraryWrites(t *testing.T) {
	w := someWorld()
	w.targets = append(w.targets, target("odd", false, "it said: \"no\\yes\"\nand more: "+strings.Repeat("ü", 100)))
	for i := range 2000 { // more than is written at once
		w.vm(fmt.Sprintf("vm-%04d", i), nil)
	}
	g := coordinator(w, true)
	r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.8,text/plain;version=0.0.4;q=0.2")
	answer := httptest.NewRecorder()
	g.Handler().ServeHTTP(answer, r)
	decoder := expfmt.NewDecoder(answer.Body, expfmt.ResponseFormat(answer.Header()))
	seen := map[string]*dto.MetricFamily{}
	for {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		seen[f.GetName()] = &f
	}
	want, err := g.Gather()
	require.NoError(t, err)
	require.Len(t, seen, len(want))
	for _, f := range want {
		if f.GetName() == collectorDuration.Name {
			require.Len(t, seen[f.GetName()].GetMetric(), len(f.GetMetric()))
			continue
		}
		require.True(t, proto.Equal(f, seen[f.GetName()]), "%s\n%s", f, seen[f.GetName()])
	}
	require.NotEmpty(t, seen["hayloft_job_duration_seconds"].GetMetric()[0].GetHistogram().GetPositiveSpan(), "native buckets")
	require.Len(t, seen["hayloft_vm_protection_info"].GetMetric(), 2004)
}

func TestFollowerTellsNothingOfObjects(t *testing.T) {
	for name := range parse(t, exposition(t, coordinator(someWorld(), false))) {
		for _, m := range Catalog() {
			require.False(t, m.Name == name && m.By == Leader, name)
		}
	}
}

func TestCollectorThatFailsBreaksNoOther(t *testing.T) {
	w := someWorld()
	w.broken = true
	g := coordinator(w, true)
	var failures []string
	g.Failed = func(collector string, err error) { failures = append(failures, collector+": "+err.Error()) }
	text := string(exposition(t, g))
	require.Contains(t, text, `hayloft_scrape_collector_success{collector="jobs"} 0`)
	require.Contains(t, text, `hayloft_scrape_collector_success{collector="points"} 1`)
	require.Contains(t, text, `hayloft_vm_points{`)
	require.NotContains(t, text, `hayloft_queue_jobs `)
	require.Equal(t, []string{"jobs: the cache is not filled"}, failures)
}

func TestHistogramsAreNativeToo(t *testing.T) {
	families, err := coordinator(someWorld(), true).Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetType() == dto.MetricType_HISTOGRAM {
			require.NotNil(t, f.GetMetric()[0].GetHistogram().Schema, f.GetName())
			require.NotEmpty(t, f.GetMetric()[0].GetHistogram().GetBucket(), f.GetName())
		}
	}
}
