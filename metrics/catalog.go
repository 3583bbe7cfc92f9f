package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Kind is what Prometheus calls the type of a metric.
type Kind string

// The kinds in use. A histogram has the classic buckets that the catalog names,
// and a native one beside them for whoever scrapes in the protobuf format.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Teller is who exposes a metric.
type Teller string

// The tellers. A sum over all coordinators counts each object once, since only
// one of them leads.
const (
	Leader      Teller = "leader"      // the coordinator that leads, from the API objects
	Coordinator Teller = "coordinator" // every coordinator, of its own work
	Agent       Teller = "agent"       // every agent, of its own work
)

// Metric is one metric as the world sees it. Dashboards, alerts and
// docs/metrics.md may count on no other.
type Metric struct {
	Name string
	Kind Kind
	Help string
	// Labels are names from the table of bounds.
	Labels []string
	By     Teller
	// Buckets are the upper bounds of a histogram's classic buckets.
	Buckets []float64
}

var catalog []*Metric

// define enters a metric into the catalog.
func define(m Metric) *Metric {
	slices.Sort(m.Labels)
	catalog = append(catalog, &m)
	return &m
}

// Catalog returns every metric of agent and coordinator, by name. Those that the
// libraries below them tell (go_, process_, controller_runtime_, rest_client_)
// are not in it.
func Catalog() []Metric {
	out := make([]Metric, 0, len(catalog))
	for _, m := range catalog {
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Unit of the metric's values, in words, by the suffix of its name.
func (m Metric) Unit() string {
	name := strings.TrimSuffix(m.Name, "_total")
	for _, u := range []struct{ suffix, unit string }{
		{"_timestamp_seconds", "Unix time in seconds"},
		{"_seconds", "seconds"},
		{"_bytes", "bytes"},
		{"_ratio", "share, 0 to 1"},
		{"_info", "always 1"},
	} {
		if strings.HasSuffix(name, u.suffix) {
			return u.unit
		}
	}
	return "count"
}

func (m *Metric) counter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

func (m *Metric) gauge() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

// histogram has native buckets that are a tenth wider each than the one before.
func (m *Metric) histogram() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: m.Name, Help: m.Help, Buckets: m.Buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	}, m.Labels)
}

// Buckets of histograms, in seconds.
var (
	// a tenth of a second (a cut) to nine hours (a large disk).
	longBuckets = []float64{0.1, 0.3, 1, 3, 10, 30, 90, 300, 900, 2700, 9000, 32400}
	// 20 ms to about three minutes.
	workBuckets = []float64{0.02, 0.05, 0.1, 0.25, 0.75, 2, 5, 12, 30, 75, 180}
	// 5 ms to a minute: what a guest or an API client notices.
	shortBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60}
)
