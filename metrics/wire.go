package metrics

import (
	"io"
	"math"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of fields in io.prometheus.client's messages.
const (
	familyName, familyHelp, familyType, familyMetric = 1, 2, 3, 4
	metricLabel, metricGauge                         = 1, 2
	labelName, labelValue                            = 1, 2
	gaugeValue                                       = 1
)

// gaugeSize is that of a gauge's message: a tag and eight bytes.
var gaugeSize = protowire.SizeTag(gaugeValue) + protowire.SizeFixed64()

// writeWire appends the samples of one metric to b as the delimited message that the
// protobuf format has of it, and writes b whenever it is a chunk. What is left is
// returned.
func (s *Samples) writeWire(w io.Writer, b []byte, m *Metric) ([]byte, error) {
	list := s.of[m]
	kind := uint64(dto.MetricType_GAUGE)
	size := sizeText(familyName, m.Name) + sizeText(familyHelp, m.Help) + protowire.SizeTag(familyType) + protowire.SizeVarint(kind)
	for _, one := range list {
		size += sizeMessage(familyMetric, one.wireSize())
	}
	b = protowire.AppendVarint(b, uint64(size))
	b = appendText(b, familyName, m.Name)
	b = appendText(b, familyHelp, m.Help)
	b = protowire.AppendVarint(protowire.AppendTag(b, familyType, protowire.VarintType), kind)
	for _, one := range list {
		b = appendMessage(b, familyMetric, one.wireSize())
		for name, value := range one.labels.each {
			b = appendMessage(b, metricLabel, sizeText(labelName, name)+sizeText(labelValue, value))
			b = appendText(appendText(b, labelName, name), labelValue, value)
		}
		b = appendMessage(b, metricGauge, gaugeSize)
		b = protowire.AppendFixed64(protowire.AppendTag(b, gaugeValue, protowire.Fixed64Type), math.Float64bits(one.value))
		if len(b) >= chunk {
			if _, err := w.Write(b); err != nil {
				return nil, err
			}
			b = b[:0]
		}
	}
	return b, nil
}

// wireSize is that of the message of one sample.
func (s sample) wireSize() int {
	size := sizeMessage(metricGauge, gaugeSize)
	if s.labels != nil {
		size += s.labels.wireSize
	}
	return size
}

// wireSizeOf is what labels take in the message of a sample.
func wireSizeOf(pairs []string) (size int) {
	for i := 0; i < len(pairs); i += 2 {
		size += sizeMessage(metricLabel, sizeText(labelName, pairs[i])+sizeText(labelValue, pairs[i+1]))
	}
	return size
}

func sizeMessage(field protowire.Number, size int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(size)
}

func sizeText(field protowire.Number, text string) int { return sizeMessage(field, len(text)) }

func appendMessage(b []byte, field protowire.Number, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(size))
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	return append(appendMessage(b, field, len(text)), text...)
}
