package control

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTuningOf(t *testing.T) {
	require.Equal(t, Tuning{MaxJobsPerNode: 8, TargetWorkers: 8, ProbeFloor: time.Minute, StatusEvery: 2 * time.Second}, TuningOf(Options{}))
	require.Equal(t, 3, TuningOf(Options{MaxJobsPerNode: 3}).MaxJobsPerNode)
}
