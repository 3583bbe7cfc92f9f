package longhorn_test

import (
	"fmt"
	"sync"
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"hayloft.dev/deploy/local/longhorn/instance"
)

func TestEndedStandInLeavesNoProcessAndGoesOnWhenStartedAgain(t *testing.T) {
	s := theStack(t)
	vol := s.volume(t, nil)
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitSatisfied(t, vol.Name, "csi")
	write(t, vol, pattern)
	port := s.engine(t, vol.Name).Status.Port

	require.NoError(t, s.stop(), "being told to end is no error")
	require.Empty(t, s.processes(vol.Name))
	require.NoFileExists(t, instance.SocketPath(vol.Name))
	var webhooks admissionregistrationv1.ValidatingWebhookConfigurationList
	require.NoError(t, s.List(t.Context(), &webhooks))
	require.Empty(t, webhooks.Items, "nobody would answer")

	require.NoError(t, s.run())
	s.waitVolume(t, vol.Name, "attached again", func(v *lh.Volume) bool {
		return v.Status.State == lh.VolumeStateAttached && v.Status.Robustness == lh.VolumeRobustnessHealthy &&
			s.engine(t, vol.Name).Status.Port != port && s.pid("engine", vol.Name+"-e-0") != 0
	})
	requireWritten(t, vol, pattern)
}

// Tickets that come and go faster than the volume can follow end in what the last ones say, with one engine at most.
func TestTicketsThatComeAndGo(t *testing.T) {
	s := theStack(t)
	var group sync.WaitGroup
	for range 4 {
		vol := s.volume(t, nil)
		group.Go(func() {
			for i := range 6 {
				id, node := fmt.Sprint("t", i), fmt.Sprint("node-", i%3+1)
				s.ticket(t, vol.Name, id, node, lh.AttacherTypeBackupController, lh.AnyValue)
				if i%2 == 0 {
					s.waitSatisfied(t, vol.Name, id)
				}
				s.dropTicket(t, vol.Name, id)
			}
			s.ticket(t, vol.Name, "last", "node-2", lh.AttacherTypeCSIAttacher, "-")
			s.waitSatisfied(t, vol.Name, "last")
		})
	}
	group.Wait()
	var engines, replicas int
	for _, p := range s.procs.List() {
		switch p.Kind {
		case "engine":
			engines++
		case "replica":
			replicas++
		}
	}
	require.Equal(t, 4, engines)
	require.Equal(t, 8, replicas)
}
