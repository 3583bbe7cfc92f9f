package bench

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// rounds is how many backups the requests are counted of, after a first one.
const rounds = 4

// BenchmarkRequests: requests to the API server for each disk of a VM with two,
// counted by a proxy before each program, from the creation of a VMBackup until
// its last job is gone. What goes by the clock (heartbeats, leader election,
// probes) and what reports progress is counted apart.
func BenchmarkRequests(b *testing.B) {
	w := newWorld(b)
	proxies := w.startCounted()
	w.targetReady(w.Target)
	w.runningVM("vm", 16*mib)
	w.backup("first", "vm", w.Target)
	w.settled()

	before := w.served()
	for _, p := range proxies {
		p.Reset()
	}
	for i := range rounds {
		w.backup(fmt.Sprintf("point-%d", i), "vm", w.Target)
		w.settled()
	}
	after := w.served()
	ours := 0
	for _, p := range proxies {
		for _, r := range p.Requests() {
			if strings.Contains(r.Path, "/apis/"+v1alpha1.GroupVersion.Group+"/") {
				ours++
			}
		}
	}
	b.Logf("of hayloft.dev: %d through the proxies; %d served by the API server, this benchmark's own included; %s", ours, after-before, load())
	reportRequests(b, proxies, 2*rounds)
}

// reportRequests reports what went through the proxies, for each of a number of
// disks.
func reportRequests(b *testing.B, proxies map[string]*harness.Proxy, disks int) {
	b.Helper()
	sum := map[string]int{}
	for program, p := range proxies {
		for kind, n := range countKinds(p.Requests()) {
			sum[program+" "+kind] += n
		}
	}
	per := map[string]float64{}
	var each []string // on one line: of a benchmark's lines ten are shown
	for _, kind := range slices.Sorted(maps.Keys(sum)) {
		share := float64(sum[kind]) / float64(disks)
		each = append(each, fmt.Sprintf("%.2f %s", share, kind))
		per[class(kind)] += share
	}
	b.Logf("a disk: %s", strings.Join(each, "; "))
	b.ReportMetric(per["work"], "requests/disk")
	b.ReportMetric(per["progress"], "progress/disk")
	b.ReportMetric(per["clock"], "clock/disk")
}

// startCounted starts every program behind a proxy of its own.
func (w *world) startCounted() map[string]*harness.Proxy {
	w.b.Helper()
	proxies := map[string]*harness.Proxy{}
	behind := func(program, account string) string {
		p := proxies[program]
		if p == nil {
			p = harness.NewProxy(w.b, w.Config)
			proxies[program] = p
		}
		return p.Kubeconfig(w.b, w.Kubeconfigs[account])
	}
	for _, n := range w.Nodes {
		w.StartAgent(w.b, n.Name, harness.ProgramOptions{Kubeconfig: behind("agent", "agent-"+n.Name)})
	}
	w.StartCoordinator(w.b, "coordinator-1", harness.ProgramOptions{
		Kubeconfig: behind("coordinator", "coordinator"),
		Args:       []string{"--targetio-kubeconfig", behind("targetio", "targetio")},
	})
	return proxies
}

// countKinds counts requests by verb and resource. Of the writes to one job's
// status the first claims it and the last ends it; what is between is progress.
func countKinds(requests []harness.Request) map[string]int {
	out := map[string]int{}
	writes := map[string]int{} // path of a job's status -> writes
	for _, r := range requests {
		kind := kindOf(r)
		if kind == "PUT nodejobs/status" || kind == "PATCH nodejobs/status" {
			if writes[r.Path]++; writes[r.Path] > 2 {
				kind += " (progress)"
			}
		}
		out[kind]++
	}
	return out
}

func kindOf(r harness.Request) string {
	verb := r.Method
	if r.Watch {
		verb = "WATCH"
	}
	parts := strings.Split(strings.Trim(r.Path, "/"), "/")
	parts = parts[min(len(parts), 2):] // api v1
	if strings.HasPrefix(r.Path, "/apis/") {
		parts = parts[min(len(parts), 1):] // apis group version
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	switch {
	case len(parts) == 0:
		return verb + " discovery"
	case len(parts) == 1:
		if verb == http.MethodGet {
			verb = "LIST"
		}
		return verb + " " + parts[0]
	}
	resource := parts[0]
	if resource == "leases" {
		resource += " " + strings.SplitN(parts[1], "-", 2)[0]
	}
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	return verb + " " + resource
}

// class tells work from progress and from what goes by the clock.
func class(kind string) string {
	switch {
	case strings.HasSuffix(kind, "(progress)"):
		return "progress"
	case strings.HasSuffix(kind, "leases session"), strings.HasSuffix(kind, "leases coordinator"), strings.HasSuffix(kind, "backuptargets/status"):
		return "clock"
	}
	return "work"
}

var requestTotal = regexp.MustCompile(`^apiserver_request_total\{.*group="hayloft\.dev".*\} (\S+)$`)

// served is how many requests for Hayloft's objects the API server has
// answered, by its own count; a watch counts when it ends.
func (w *world) served() (n int) {
	w.b.Helper()
	c, err := rest.HTTPClientFor(w.Config)
	check(w.b, err)
	answer, err := c.Get(w.Config.Host + "/metrics")
	check(w.b, err)
	defer answer.Body.Close()
	text := new(strings.Builder)
	check(w.b, answer.Write(text))
	for line := range strings.Lines(text.String()) {
		if m := requestTotal.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			v, err := strconv.ParseFloat(m[1], 64)
			check(w.b, err)
			n += int(v)
		}
	}
	return n
}
