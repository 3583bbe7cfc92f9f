package scale

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// served is what the API server has answered so far and what it took for that. On a
// machine that others use this tells more than how long something lasted.
type served struct {
	requests map[string]float64 // verb, resource and code -> number
	cpu      time.Duration      // etcd's with it, which is in the same process
}

var (
	requestTotal = regexp.MustCompile(`^apiserver_request_total\{(.*)\} (\S+)$`)
	processCPU   = regexp.MustCompile(`^process_cpu_seconds_total (\S+)$`)
	label        = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

func (w *world) served() served {
	w.b.Helper()
	raw, err := w.ask("/metrics")
	check(w.b, err)
	out := served{requests: map[string]float64{}}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if m := processCPU.FindStringSubmatch(line); m != nil {
			seconds, err := strconv.ParseFloat(m[1], 64)
			check(w.b, err)
			out.cpu = time.Duration(seconds * float64(time.Second))
		}
		m := requestTotal.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		of := map[string]string{}
		for _, l := range label.FindAllStringSubmatch(m[1], -1) {
			of[l[1]] = l[2]
		}
		n, err := strconv.ParseFloat(m[2], 64)
		check(w.b, err)
		resource := of["resource"]
		if of["subresource"] != "" {
			resource += "/" + of["subresource"]
		}
		out.requests[fmt.Sprintf("%s %s %s", of["verb"], resource, of["code"])] += n
	}
	return out
}

// ask reads a page of the API server's.
func (w *world) ask(path string) ([]byte, error) {
	c, err := rest.HTTPClientFor(w.config)
	if err != nil {
		return nil, err
	}
	answer, err := c.Get(w.config.Host + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the API server's %s: %s: %s", path, answer.Status, raw)
	}
	return raw, err
}

// between says what was answered from one look to another, most first.
func between(from, to served) string {
	more := map[string]float64{}
	for kind, n := range to.requests {
		if n -= from.requests[kind]; n > 0 {
			more[kind] = n
		}
	}
	kinds := slices.SortedFunc(maps.Keys(more), func(a, b string) int {
		if more[a] != more[b] {
			return int(more[b] - more[a])
		}
		return strings.Compare(a, b)
	})
	var each []string // on one line: of a benchmark's lines ten are shown
	for _, kind := range kinds[:min(len(kinds), 16)] {
		each = append(each, fmt.Sprintf("%.0f %s", more[kind], kind))
	}
	return strings.Join(each, "; ")
}

// profile has the API server's CPU profile of some seconds from now on written to
// the file that HAYLOFT_BENCH_PROFILE names, if it does. It returns what waits for that.
func (w *world) profile(seconds int) (wait func()) {
	file := os.Getenv("HAYLOFT_BENCH_PROFILE")
	if file == "" {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := w.ask(fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
		if err == nil {
			err = os.WriteFile(file, raw, 0o600)
		}
		if err != nil {
			w.b.Error(err)
		}
	}()
	return func() { <-done }
}
