package units_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"hayloft.dev/cli/internal/units"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB",
		5 << 30: "5.0 GiB", math.MaxInt64: "8.0 EiB", -2048: "-2.0 KiB", math.MinInt64: "-8.0 EiB",
	} {
		assert.Equal(t, want, units.Bytes(n), n)
	}
	assert.Equal(t, "80.0 MiB/s", units.Rate(80<<20))
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 350 * time.Millisecond: "350ms", 12 * time.Second: "12s", 3 * time.Minute: "3m",
		3*time.Minute + 5*time.Second: "3m5s", 2*time.Hour + 10*time.Minute + 9*time.Second: "2h10m",
		99 * time.Hour: "4d3h", -time.Second: "-1s",
	} {
		assert.Equal(t, want, units.Duration(d))
	}
}

func TestPercentIsHundredOnlyWhenFinished(t *testing.T) {
	assert.Equal(t, 99, units.Percent(100, 100, false))
	assert.Equal(t, 100, units.Percent(0, 0, true), "an empty disk can be finished")
	assert.Equal(t, 41, units.Percent(419, 1000, false))
	assert.Equal(t, 0, units.Percent(5, 0, false))
	assert.Equal(t, 99, units.Percent(200, 100, false), "a total that was estimated too low")
}
