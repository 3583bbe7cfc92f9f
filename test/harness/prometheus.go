package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// prometheusTimeout bounds its start, which takes about a second.
const prometheusTimeout = 60 * time.Second

// Prometheus is the real one, that scrapes programs every second.
type Prometheus struct {
	*Program
}

// StartPrometheus starts Debian's Prometheus on the /metrics of agents and coordinators, and with a file of rules. It is
// killed at the end of the test.
func StartPrometheus(t testing.TB, rules string, programs ...*Program) *Prometheus {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v: it comes with the Debian package prometheus: run make deps", err)
	}
	dir := t.TempDir()
	jobs := map[string][]string{} // kind -> addresses
	for _, p := range programs {
		jobs[p.Kind] = append(jobs[p.Kind], fmt.Sprintf("%q", strings.TrimPrefix(p.URL, "http://")))
	}
	config := "global: {scrape_interval: 1s, evaluation_interval: 1s}\nscrape_configs:\n"
	for kind, addresses := range jobs {
		config += fmt.Sprintf("- {job_name: %s, static_configs: [{targets: [%s]}]}\n", kind, strings.Join(addresses, ", "))
	}
	if rules != "" {
		config += fmt.Sprintf("rule_files: [%q]\n", rules)
	}
	file := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	address := FreeAddress(t)
	p, err := startProgram("prometheus", "prometheus", "http://"+address, filepath.Join(dir, "log"), path, []string{
		"--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address,
	}, nil)
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
	return &Prometheus{p}
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
