package rate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"hayloft.dev/pkg/rate"
)

func TestOf(t *testing.T) {
	t0 := time.Unix(1_000_000, 0)
	at := func(second float64, done int64) rate.Sample {
		return rate.Sample{At: t0.Add(time.Duration(second * float64(time.Second))), Done: done}
	}
	for _, tc := range []struct {
		name    string
		samples []rate.Sample
		total   int64
		now     float64 // seconds after t0
		want    rate.Estimate
	}{
		{"nothing yet", nil, 100, 0, rate.Estimate{}},
		{"one sample", []rate.Sample{at(0, 10)}, 100, 1, rate.Estimate{}},
		{"steady", []rate.Sample{at(0, 0), at(1, 10), at(2, 20)}, 100, 2, rate.Estimate{PerSecond: 10, Left: 8 * time.Second, Known: true}},
		{"between two reports the rate stands and the end comes nearer", []rate.Sample{at(0, 0), at(2, 20)}, 100, 4, rate.Estimate{PerSecond: 10, Left: 6 * time.Second, Known: true}},
		{"a stall lowers the rate", []rate.Sample{at(0, 0), at(2, 20)}, 100, 20, rate.Estimate{PerSecond: 1, Left: 62 * time.Second, Known: true}},
		{"overdue is now, not negative", []rate.Sample{at(0, 0), at(1, 90)}, 100, 5, rate.Estimate{PerSecond: 90, Left: 0, Known: true}},
		{"nothing moves", []rate.Sample{at(0, 50), at(9, 50)}, 100, 9, rate.Estimate{}},
		{"done", []rate.Sample{at(0, 0), at(1, 100)}, 100, 50, rate.Estimate{Known: true}},
		{"total unknown", []rate.Sample{at(0, 0), at(1, 10)}, 0, 1, rate.Estimate{PerSecond: 10}},
		{"two samples at one time", []rate.Sample{at(1, 0), at(1, 10)}, 100, 1, rate.Estimate{}},
		{"ages away", []rate.Sample{at(0, 0), at(10, 1)}, 1 << 60, 10, rate.Estimate{PerSecond: 0.1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, rate.Of(tc.samples, tc.total, at(tc.now, 0).At))
		})
	}
}

func TestKeep(t *testing.T) {
	t0 := time.Unix(1_000_000, 0)
	var s []rate.Sample
	for i := range 100 {
		s = rate.Keep(s, rate.Sample{At: t0.Add(time.Duration(i) * time.Second), Done: int64(i)})
	}
	assert.Len(t, s, 31, "the window is 30 seconds")
	s = rate.Keep(s, rate.Sample{At: t0.Add(time.Hour), Done: 200})
	assert.Len(t, s, 2, "after a long silence one earlier sample is needed for a rate")
	s = rate.Keep(s, rate.Sample{At: t0.Add(2 * time.Hour), Done: 5})
	assert.Len(t, s, 1, "another attempt begins anew")
}
