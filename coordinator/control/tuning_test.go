package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(2)
		took := make(chan struct{}, 10)
		for range 5 {
			go func() {
				if s.take(t.Context()) == nil {
					took <- struct{}{}
				}
			}()
		}
		synctest.Wait()
		require.Len(t, took, 2)
		s.resize(3)
		synctest.Wait()
		require.Len(t, took, 3)
		s.resize(1) // what was taken stays so
		s.give()
		s.give()
		synctest.Wait()
		require.Len(t, took, 3)
		s.give()
		synctest.Wait()
		require.Len(t, took, 4)
		s.give()
		synctest.Wait()
		require.Len(t, took, 5)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.take(ctx), context.DeadlineExceeded)
	})
}

func TestTuningOf(t *testing.T) {
	require.Equal(t, Tuning{MaxJobsPerNode: 8, TargetWorkers: 8, ProbeFloor: time.Minute, StatusEvery: 2 * time.Second}, TuningOf(Options{}))
	require.Equal(t, 3, TuningOf(Options{MaxJobsPerNode: 3}).MaxJobsPerNode)
}
