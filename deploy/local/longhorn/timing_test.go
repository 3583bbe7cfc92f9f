package longhorn_test

import (
	"context"
	"testing"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
)

// withRealTiming starts the stand-in anew for a test.
func (s *stack) withRealTiming(t *testing.T) {
	t.Helper()
	restart := func(real bool) {
		require.NoError(t, s.stop())
		s.options.RealTiming = real
		require.NoError(t, s.run())
	}
	restart(true)
	t.Cleanup(func() { restart(false) })
}

func TestRealTiming(t *testing.T) {
	s := theStack(t)
	s.withRealTiming(t)
	vol := s.volume(t, func(v *lh.Volume) {
		v.Spec.Migratable, v.Spec.AccessMode, v.Spec.RevisionCounterDisabled = true, lh.AccessModeReadWriteMany, true
	})
	took := func(at time.Time, atLeast time.Duration, what string) {
		t.Helper()
		t.Logf("%s: %s", what, time.Since(at))
		require.GreaterOrEqual(t, time.Since(at), atLeast, what)
	}
	watched, robustness := context.WithCancel(t.Context())
	defer robustness()
	seen := map[lh.VolumeRobustness]bool{} // while the volume was attached
	done := make(chan struct{})
	go func() {
		defer close(done)
		v := &lh.Volume{}
		for watched.Err() == nil {
			if s.Get(watched, key(vol.Name), v) == nil && v.Status.State == lh.VolumeStateAttached {
				seen[v.Status.Robustness] = true
			}
		}
	}()

	began := time.Now()
	s.ticket(t, vol.Name, "backup", "node-1", backup, lh.AnyValue)
	s.waitSatisfied(t, vol.Name, "backup")
	took(began, 2*time.Second, "satisfied")
	s.waitVolume(t, vol.Name, "healthy", func(v *lh.Volume) bool { return v.Status.Robustness == lh.VolumeRobustnessHealthy })
	took(began, 5*time.Second, "healthy")
	robustness()
	<-done
	require.True(t, seen[lh.VolumeRobustnessUnknown], "first it is not known: %v", seen)

	began = time.Now()
	s.ticket(t, vol.Name, "a", "node-2", csi, lh.FalseValue)
	require.NoError(t, poll(t.Context(), func() bool { return s.pid("engine", vol.Name+"-e-0") == 0 }))
	t.Logf("evicted: %s", time.Since(began))
	s.waitSatisfied(t, vol.Name, "a")
	took(began, 4*time.Second, "attached elsewhere")
	s.dropTicket(t, vol.Name, "backup")
	s.waitVolume(t, vol.Name, "healthy", func(v *lh.Volume) bool { return v.Status.Robustness == lh.VolumeRobustnessHealthy })

	began = time.Now()
	s.ticket(t, vol.Name, "b", "node-3", csi, lh.FalseValue)
	s.waitSatisfied(t, vol.Name, "b")
	took(began, 2*time.Second, "migrating")
	s.dropTicket(t, vol.Name, "a")
	s.waitMigrated(t, vol.Name, "node-3")

	began = time.Now()
	s.dropTicket(t, vol.Name, "b")
	s.waitDetached(t, vol.Name)
	took(began, 2*time.Second, "detached")
}
