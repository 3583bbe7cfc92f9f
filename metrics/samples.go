package metrics

import (
	"cmp"
	"io"
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
	// room maps a metric -> how many samples the last scrape had of it.
	room map[*Metric]int
}

type sample struct {
	labels *labels
	value  float64
}

func newSamples(room map[*Metric]int) *Samples {
	return &Samples{of: map[*Metric][]sample{}, room: room}
}

// lengths are the room that another scrape will need.
func (s *Samples) lengths() map[*Metric]int {
	out := make(map[*Metric]int, len(s.of))
	for m, list := range s.of {
		out[m] = len(list)
	}
	return out
}

// labels that several samples share; nil: none. There are several for each VM and each
// schedule, kept from scrape to scrape, so names and values are there but once.
type labels struct {
	text     string // as the text format has them
	wireSize int    // bytes that they take in the protobuf format
}

// each yields names and values.
func (l *labels) each(yield func(name, value string) bool) {
	if l == nil {
		return
	}
	for rest := l.text[1 : len(l.text)-1]; rest != ""; {
		name, after, _ := strings.Cut(rest, `="`)
		end, escaped := 0, false
		for ; after[end] != '"'; end++ {
			if after[end] == '\\' {
				end, escaped = end+1, true
			}
		}
		value := after[:end]
		if escaped {
			value = unescape.Replace(value)
		}
		if !yield(name, value) {
			return
		}
		rest = strings.TrimPrefix(after[end+1:], ",")
	}
}

var (
	escape   = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	unescape = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
)

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
	return &labels{text: string(text), wireSize: wireSizeOf(pairs)}
}

// appendEscaped appends a label's value. Names of objects need no escaping, but
// reasons are whatever a condition says.
func appendEscaped(b []byte, value string) []byte {
	if !strings.ContainsAny(value, "\\\"\n") {
		return append(b, value...)
	}
	return append(b, escape.Replace(value)...)
}

// set adds one sample.
func (s *Samples) set(m *Metric, value float64, l *labels) {
	list := s.of[m]
	if list == nil {
		list = make([]sample, 0, s.room[m]+1)
	}
	s.of[m] = append(list, sample{l, value})
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

// chunk is how much text is written at once.
const chunk = 64 << 10

// writeText appends the samples of one metric to b in Prometheus' text format, and
// writes b whenever it is a chunk. What is left is returned.
func (s *Samples) writeText(w io.Writer, b []byte, m *Metric) ([]byte, error) {
	b = append(append(append(append(b, "# HELP "...), m.Name...), ' '), m.Help...)
	b = append(append(append(b, "\n# TYPE "...), m.Name...), " gauge\n"...)
	for _, one := range s.of[m] {
		b = append(b, m.Name...)
		if one.labels != nil {
			b = append(b, one.labels.text...)
		}
		b = append(b, ' ')
		if v := int64(one.value); float64(v) == one.value && -wholeMax < v && v < wholeMax {
			b = strconv.AppendInt(b, v, 10) // the same digits, many times faster
		} else {
			b = strconv.AppendFloat(b, one.value, 'g', -1, 64)
		}
		b = append(b, '\n')
		if len(b) >= chunk {
			if _, err := w.Write(b); err != nil {
				return nil, err
			}
			b = b[:0]
		}
	}
	return b, nil
}

// wholeMax is from where whole numbers are written with an exponent.
const wholeMax = 1_000_000

// families are the samples as messages, by name.
func (s *Samples) families() []*dto.MetricFamily {
	var out []*dto.MetricFamily
	for _, m := range s.metrics() {
		kind := dto.MetricType_GAUGE
		f := &dto.MetricFamily{Name: &m.Name, Help: &m.Help, Type: &kind}
		for _, one := range s.of[m] {
			metric := &dto.Metric{Gauge: &dto.Gauge{Value: &one.value}}
			for name, value := range one.labels.each {
				metric.Label = append(metric.Label, &dto.LabelPair{Name: &name, Value: &value})
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
