package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Samples are what collectors read in one scrape, all of them gauges.
//
// They are put together and written here and not by way of prometheus.Collector:
// with 10,000 VMs there are some hundred thousand, and a registry's channel, checks
// and sorting, and a message for each, cost several times what reading the objects
// does. That the result is what the library would write is tested.
type Samples struct {
	of map[*Metric][]sample
}

type sample struct {
	labels *labels
	value  float64
}

func newSamples() *Samples { return &Samples{of: map[*Metric][]sample{}} }

// labels that several samples share; nil: none.
type labels struct {
	pairs []string // names and values in turn
	text  string   // as the text format has them
}

// by makes labels of names and values in turn, the names in alphabetical order.
func by(pairs ...string) *labels {
	size := 2
	for _, s := range pairs {
		size += len(s) + 2
	}
	text := make([]byte, 0, size)
	separator := byte('{')
	for i := 0; i < len(pairs); i += 2 {
		text = append(text, separator)
		separator = ','
		text = append(text, pairs[i]...)
		text = append(text, `="`...)
		text = appendEscaped(text, pairs[i+1])
		text = append(text, '"')
	}
	text = append(text, '}')
	return &labels{pairs: pairs, text: string(text)}
}

// appendEscaped appends a label's value. Names of objects need no escaping, but
// reasons are whatever a condition says.
func appendEscaped(b []byte, value string) []byte {
	if !strings.ContainsAny(value, "\\\"\n") {
		return append(b, value...)
	}
	return append(b, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)...)
}

// set adds one sample.
func (s *Samples) set(m *Metric, value float64, l *labels) {
	s.of[m] = append(s.of[m], sample{l, value})
}

// flag adds 1 for true and 0 for false.
func (s *Samples) flag(m *Metric, value bool, l *labels) {
	v := 0.0
	if value {
		v = 1
	}
	s.set(m, v, l)
}

// take adds what another one holds.
func (s *Samples) take(o *Samples) { maps.Copy(s.of, o.of) }

// metrics that there are samples of, by name.
func (s *Samples) metrics() []*Metric {
	return slices.SortedFunc(maps.Keys(s.of), func(a, b *Metric) int { return strings.Compare(a.Name, b.Name) })
}

// appendText appends the samples of one metric in Prometheus' text format.
func (s *Samples) appendText(b []byte, m *Metric) []byte {
	b = append(append(append(append(b, "# HELP "...), m.Name...), ' '), m.Help...)
	b = append(append(append(b, "\n# TYPE "...), m.Name...), " gauge\n"...)
	for _, one := range s.of[m] {
		b = append(b, m.Name...)
		if one.labels != nil {
			b = append(b, one.labels.text...)
		}
		b = append(b, ' ')
		b = strconv.AppendFloat(b, one.value, 'g', -1, 64)
		b = append(b, '\n')
	}
	return b
}

// families are the samples as messages, by name.
func (s *Samples) families() []*dto.MetricFamily {
	var out []*dto.MetricFamily
	for _, m := range s.metrics() {
		kind := dto.MetricType_GAUGE
		f := &dto.MetricFamily{Name: &m.Name, Help: &m.Help, Type: &kind}
		for _, one := range s.of[m] {
			metric := &dto.Metric{Gauge: &dto.Gauge{Value: &one.value}}
			if one.labels != nil {
				for i := 0; i < len(one.labels.pairs); i += 2 {
					metric.Label = append(metric.Label, &dto.LabelPair{Name: &one.labels.pairs[i], Value: &one.labels.pairs[i+1]})
				}
			}
			f.Metric = append(f.Metric, metric)
		}
		out = append(out, f)
	}
	return out
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
