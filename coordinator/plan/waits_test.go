package plan

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
)

// What a point waits for stands in its condition, in words.
func TestWhatJobsWaitForIsTold(t *testing.T) {
	unassigned := func(v *BackupView) { v.Jobs[len(v.Jobs)-1].Spec.NodeName = "" }
	because := func(why string) func(*BackupView) {
		return func(v *BackupView) { v.Waits = map[string]string{v.Jobs[len(v.Jobs)-1].Name: why} }
	}
	said := func(text string) func(*v1alpha1.NodeJobStatus) {
		return func(s *v1alpha1.NodeJobStatus) { running(s); s.Message = text }
	}
	for says, view := range map[string]BackupView{
		"cutting snapshots of 2 disks: waiting: no agent lives on any node": look(wasStarted, job(kindCut, "", 1, unclaimed), unassigned, because("no agent lives on any node")),
		"cutting snapshots of 2 disks: waiting for a free agent":            look(wasStarted, job(kindCut, "", 1, unclaimed), unassigned),
		"cutting snapshots of 2 disks: waiting for the agent on node n1":    look(wasStarted, job(kindCut, "", 1, unclaimed)),
		"cutting snapshots of 2 disks: waiting: agent session n2-00000001 has the lease of volume v-root": look(wasStarted, job(kindCut, "", 1, unclaimed),
			because("agent session n2-00000001 has the lease of volume v-root")),
		"cutting snapshots of 2 disks: waiting: the volume is wanted": look(wasStarted, job(kindCut, "", 1, said("waiting: the volume is wanted"))),
		"backing up disk root; backing up disk data: waiting: target s3 has as many transfers as it may": look(cut, job(kindBackup, "root", 1, running), job(kindBackup, "data", 1, unclaimed), unassigned,
			because("target s3 has as many transfers as it may")),
	} {
		require.Equal(t, says, message(Backup(view).Status.Conditions, v1alpha1.ConditionProgressing))
	}
}
