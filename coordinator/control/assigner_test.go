package control

import (
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestWhatChangesAnAssignment: progress does not, and comes often.
func TestWhatChangesAnAssignment(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.NodeJob)
		want   bool
	}{
		"progress":                  {func(j *v1alpha1.NodeJob) { j.Status.Message = "waiting"; j.Status.Cut.Number = 2 }, false},
		"another node":              {func(j *v1alpha1.NodeJob) { j.Spec.NodeName = "b" }, true},
		"another session":           {func(j *v1alpha1.NodeJob) { j.Status.Session = "b-1" }, true},
		"one agent alone can do it": {func(j *v1alpha1.NodeJob) { j.Status.Cut.GuestNode = "b" }, true},
		"it is begun":               {func(j *v1alpha1.NodeJob) { j.Status.State = v1alpha1.JobRunning }, true},
	} {
		before := &v1alpha1.NodeJob{Spec: v1alpha1.NodeJobSpec{NodeName: "a"}, Status: v1alpha1.NodeJobStatus{Session: "a-1", Cut: &v1alpha1.CutStatus{Number: 1}}}
		now := before.DeepCopy()
		c.change(now)
		require.Equal(t, c.want, (&Controller{}).assignment().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: now}), name)
	}
}
