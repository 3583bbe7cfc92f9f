package metrics

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func coordinator(t *testing.T, leading bool, read func(context.Context) (State, error)) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewRegistry()
	c := NewCoordinator(r)
	r.MustRegister(&StateCollector{Leading: func() bool { return leading }, Read: read})
	c.JobDone("cut", "", 200*time.Millisecond)
	c.JobDone("backup", "Stalled", 10*time.Minute)
	c.PointDone(3<<30, 1<<30)
	c.TookOver()
	c.Swept("ticket")
	c.TargetRun("probe", 80*time.Millisecond, 30*time.Millisecond, nil)
	c.TargetRun("finalize", time.Second, 100*time.Millisecond, errors.New("in progress"))
	return r
}

func someState(context.Context) (State, error) {
	return State{
		Jobs:   map[JobKey]int{{"backup", "Running"}: 2, {"cut", "Pending"}: 1},
		Queued: 1, OldestQueued: 90 * time.Second, Sessions: 3, LeasesHeld: 2,
		Points: map[string]int{"Ready": 5, "Failed": 1}, Restores: map[string]int{"Restoring": 1},
		Targets: map[string]bool{"s3": true, "nas": false},
	}, nil
}

func exposition(t *testing.T, r prometheus.Gatherer) []byte {
	t.Helper()
	answer := httptest.NewRecorder()
	handler := promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, answer.Code, answer.Body.String())
	return answer.Body.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run the test with -update if this change is meant")
}

func TestExposition(t *testing.T) {
	agent := prometheus.NewRegistry()
	a := NewAgent(agent)
	a.JobDone("backup", "", time.Minute)
	a.JobDone("restore", "ReplicasDiffer", time.Second)
	a.Adopted("backup")
	a.Fenced("cut")
	for name, r := range map[string]prometheus.Gatherer{
		"coordinator.prom": coordinator(t, true, someState),
		"follower.prom":    coordinator(t, false, someState),
		"agent.prom":       agent,
	} {
		t.Run(name, func(t *testing.T) {
			got := exposition(t, r)
			golden(t, name, got)
			problems, err := promlint.New(bytes.NewReader(got)).Lint()
			require.NoError(t, err)
			require.Empty(t, problems)
			promtool(t, got)
		})
	}
}

// promtool has Prometheus' own tool check the exposition where it is installed.
func promtool(t *testing.T, exposition []byte) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed; only the library's linter looked")
		return
	}
	cmd := exec.CommandContext(t.Context(), path, "check", "metrics")
	cmd.Stdin = bytes.NewReader(exposition)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestFollowerTellsNothingOfObjects(t *testing.T) {
	r := coordinator(t, false, func(context.Context) (State, error) { return State{}, errors.New("not to be asked") })
	got := string(exposition(t, r))
	for _, name := range []string{"hayloft_points", "hayloft_jobs", "hayloft_sessions", "hayloft_target_ready"} {
		require.NotContains(t, got, name+"{")
		require.NotContains(t, got, name+" ")
	}
}

func TestStateThatCannotBeReadFailsTheScrape(t *testing.T) {
	r := coordinator(t, true, func(context.Context) (State, error) { return State{}, errors.New("the cache is not filled") })
	_, err := r.Gather()
	require.ErrorContains(t, err, "the cache is not filled")
}
