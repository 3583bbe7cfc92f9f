package control_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/upgrade"
)

// TestAnUpgradeBringsWorkToRest: prepare suspends a schedule whose point is under way,
// cancels that and another one, and comes to its end; what was cancelled is no failure
// of the schedule's, which goes on when the upgrade is done.
func TestAnUpgradeBringsWorkToRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	w.vm("other")
	s := w.schedule("seconds", "", func(s *v1alpha1.VMScheduleSpec) { s.Type = v1alpha1.TypeSnapshot })
	byHand := w.backup("by-hand", "other", w.target("s3").Name)
	w.eventually("both are under way", func() bool {
		w.refresh(byHand)
		points := w.scheduledPoints(s)
		return byHand.Status.Phase == v1alpha1.BackupCutting && len(points) == 1 && points[0].Status.Phase == v1alpha1.BackupCutting
	})

	u := &upgrade.Steps{Client: w.client, Poll: 50 * time.Millisecond}
	ctx, cancel := context.WithTimeoutCause(w.ctx, time.Minute, errors.New("work does not come to rest"))
	defer cancel()
	var last upgrade.Report
	require.NoError(t, u.Wait(ctx, upgrade.PrepareOptions{Reason: "to the next version", Cancel: true}, func(r upgrade.Report) { last = r }))
	require.Equal(t, []upgrade.Suspended{{Namespace: w.ns, Name: s.Name, Reason: "to the next version"}}, last.Suspended)
	for _, b := range append(w.scheduledPoints(s), *byHand) {
		w.refresh(&b)
		reason, _ := ready(b.Status.Conditions)
		require.Equal(t, plan.ReasonCancelled, reason, b.Name)
	}
	w.eventually("the run is counted", func() bool { w.refresh(s); return len(s.Status.Runs) == 0 && suspended(s) == v1alpha1.SuspendedUpgrade })
	require.EqualValues(t, 1, s.Status.ConsecutiveFailures)

	w.agent(session)
	resumed, err := u.Finish(w.ctx)
	require.NoError(t, err)
	require.Len(t, resumed, 1)
	w.eventually("it runs again", func() bool {
		w.refresh(s)
		return s.Status.LastSuccessTime != nil && suspended(s) == "" && s.Status.ConsecutiveFailures == 0
	})
	require.NotContains(t, s.Annotations, v1alpha1.AnnotationSuspendedBy)
}

// TestAnUpgradeLeavesWhatAUserSuspends: a schedule that a user resumes and suspends
// during an upgrade stays suspended after it, as the user's, whether or not a
// coordinator looked in between.
func TestAnUpgradeLeavesWhatAUserSuspends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	w.vm("web")
	s := w.schedule("theirs", "", func(s *v1alpha1.VMScheduleSpec) { s.Type, s.Cron = v1alpha1.TypeSnapshot, "0 2 29 2 *" })
	u := &upgrade.Steps{Client: w.client}
	prepare := func() {
		_, err := u.Prepare(w.ctx, upgrade.PrepareOptions{Reason: "to the next version"})
		require.NoError(t, err)
		w.eventually("the upgrade has suspended it", func() bool { w.refresh(s); return suspended(s) == v1alpha1.SuspendedUpgrade })
	}
	suspend := func(suspend string) {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"suspend":`+suspend+`}}`))
		require.NoError(t, w.client.Patch(w.ctx, s, patch, client.FieldOwner("kubectl-patch")))
	}
	finish := func() {
		resumed, err := u.Finish(w.ctx)
		require.NoError(t, err)
		require.Empty(t, resumed)
		w.eventually("it is the user's", func() bool { w.refresh(s); return suspended(s) == v1alpha1.SuspendedUser })
		require.True(t, s.Spec.Suspend)
		require.NotContains(t, s.Annotations, v1alpha1.AnnotationSuspendedBy)
	}
	prepare()
	suspend("false")
	suspend("true")
	finish()

	suspend("false")
	w.eventually("it runs again", func() bool { w.refresh(s); return suspended(s) == "" })
	prepare()
	suspend("false")
	w.eventually("it runs again", func() bool { w.refresh(s); return suspended(s) == "" && len(s.Annotations) == 0 })
	suspend("true")
	finish()
}
