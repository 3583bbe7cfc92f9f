package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Samples are what collectors read in one scrape, all of them gauges.
//
// They are put together here and not by way of prometheus.Collector: with 10,000
// VMs there are some hundred thousand, and a registry's channel, checks and
// sorting cost several times what reading and writing them does. That the result
// is what a registry would accept is tested.
type Samples struct {
	families map[*Metric]*dto.MetricFamily
	metrics  []dto.Metric
	gauges   []dto.Gauge
	values   []float64
}

// slab is how many are allocated at once.
const slab = 1024

func newSamples() *Samples { return &Samples{families: map[*Metric]*dto.MetricFamily{}} }

// labels that several samples share.
type labels []*dto.LabelPair

// by makes labels of names and values in turn, the names in alphabetical order.
func by(pairs ...string) labels {
	if len(pairs) == 0 {
		return nil
	}
	held := make([]dto.LabelPair, len(pairs)/2)
	out := make(labels, len(held))
	for i := range held {
		held[i].Name, held[i].Value = &pairs[2*i], &pairs[2*i+1]
		out[i] = &held[i]
	}
	return out
}

// set adds one sample.
func (s *Samples) set(m *Metric, value float64, l labels) {
	f := s.families[m]
	if f == nil {
		f = m.family()
		s.families[m] = f
	}
	if len(s.metrics) == 0 {
		s.metrics, s.gauges, s.values = make([]dto.Metric, slab), make([]dto.Gauge, slab), make([]float64, slab)
	}
	metric, gauge := &s.metrics[0], &s.gauges[0]
	s.values[0] = value
	gauge.Value = &s.values[0]
	metric.Label, metric.Gauge = l, gauge
	s.metrics, s.gauges, s.values = s.metrics[1:], s.gauges[1:], s.values[1:]
	f.Metric = append(f.Metric, metric)
}

// flag adds 1 for true and 0 for false.
func (s *Samples) flag(m *Metric, value bool, l labels) {
	v := 0.0
	if value {
		v = 1
	}
	s.set(m, v, l)
}

// all are the families, by name.
func (s *Samples) all() []*dto.MetricFamily {
	return slices.SortedFunc(maps.Values(s.families), func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// sortedBy are the keys of a map, in the order of their texts.
func sortedBy[K comparable, V any](m map[K]V, text func(K) string) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return strings.Compare(text(a), text(b)) })
}

// sortedObjects are objects by namespace and name.
func sortedObjects[T metav1.Object](list []T) []T {
	return slices.SortedFunc(slices.Values(list), func(a, b T) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
}
