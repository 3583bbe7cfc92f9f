package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// prometheusTimeout bounds its start, which takes about a second.
const prometheusTimeout = 60 * time.Second

// Prometheus is the real one.
type Prometheus struct {
	*Program
	targets string // file
	written []byte // what is in it
}

// PrometheusOptions say what differs from the usual one.
type PrometheusOptions struct {
	Rules  string // a file of rules; "": none
	Native bool   // it takes native histograms, and then no classic ones
}

// StartPrometheus starts Debian's Prometheus on the /metrics of agents and coordinators, which it scrapes every so many
// whole seconds. It is killed at the end of the test.
func StartPrometheus(t testing.TB, every time.Duration, o PrometheusOptions, programs ...*Program) *Prometheus {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v: it comes with the Debian package prometheus: run make deps", err)
	}
	dir := t.TempDir()
	prometheus := &Prometheus{targets: filepath.Join(dir, "targets.json")}
	if err := prometheus.scrape(programs); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: %ds, evaluation_interval: 1s}\nscrape_configs:\n", int(every.Seconds())) +
		fmt.Sprintf("- {job_name: hayloft, file_sd_configs: [{files: [%q], refresh_interval: 1s}]}\n", prometheus.targets)
	if o.Rules != "" {
		config += fmt.Sprintf("rule_files: [%q]\n", o.Rules)
	}
	file := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	address := FreeAddress(t)
	args := []string{"--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address}
	if o.Native {
		args = append(args, "--enable-feature", "native-histograms")
	}
	p, err := startProgram("prometheus", "prometheus", "http://"+address, filepath.Join(dir, "log"), path, args, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	deadline := time.Now().Add(prometheusTimeout)
	for !ready(p.URL + "/-/ready") {
		if time.Now().After(deadline) || !p.Running() {
			t.Fatalf("Prometheus is not ready:\n%s", p.Log(t))
		}
		time.Sleep(50 * time.Millisecond)
	}
	prometheus.Program = p
	return prometheus
}

// Scrape has it scrape just these programs from now on: one that is started anew has another address.
func (p *Prometheus) Scrape(t testing.TB, programs ...*Program) {
	t.Helper()
	if err := p.scrape(programs); err != nil {
		t.Fatal(err)
	}
}

// scrape writes the file of targets, whole or not at all.
func (p *Prometheus) scrape(programs []*Program) error {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	groups := []group{}
	programs = slices.SortedFunc(slices.Values(programs), func(a, b *Program) int { return strings.Compare(a.URL, b.URL) })
	for _, program := range programs {
		groups = append(groups, group{[]string{strings.TrimPrefix(program.URL, "http://")}, map[string]string{"job": program.Kind}})
	}
	data, err := json.Marshal(groups)
	if err != nil {
		return fmt.Errorf("encoding what to scrape: %w", err)
	}
	if bytes.Equal(data, p.written) {
		return nil
	}
	p.written = data
	// Prometheus reads files of these endings only.
	next := strings.TrimSuffix(p.targets, ".json") + ".next"
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return err
	}
	return os.Rename(next, p.targets)
}

// Alerts are those that are active: a name's states, pending (it has not lasted for long enough yet) or firing.
func (p *Prometheus) Alerts() (map[string][]string, error) {
	var answer struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if err := p.Get("alerts", nil, &answer); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, a := range answer.Alerts {
		out[a.Labels["alertname"]] = append(out[a.Labels["alertname"]], a.State)
	}
	return out, nil
}

// Rules are the names of all alerts, with what is wrong with their evaluation ("": nothing).
func (p *Prometheus) Rules() (map[string]string, error) {
	var answer struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.Get("rules", nil, &answer); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, g := range answer.Groups {
		for _, r := range g.Rules {
			out[r.Name] = ""
			if r.Health != "ok" {
				out[r.Name] = r.Health + " " + r.LastError
			}
		}
	}
	return out, nil
}

func ready(address string) bool {
	response, err := http.Get(address)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Get asks Prometheus' API for a path with parameters, and reads the answer's data.
func (p *Prometheus) Get(path string, parameters url.Values, data any) error {
	response, err := http.Get(p.URL + "/api/v1/" + path + "?" + parameters.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("reading Prometheus' answer to %s: %w", path, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("prometheus on %s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}
