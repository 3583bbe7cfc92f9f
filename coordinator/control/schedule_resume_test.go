package control_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// TestResumesByItself: a target fails and comes back. Of the schedules that its
// failures suspended the one that asks for it goes on by itself; one that does not
// ask, and one that a user has suspended, wait for a person.
func TestResumesByItself(t *testing.T) {
	t.Parallel()
	const wait = 2
	w := newWorld(t)
	w.opts.ProbeEvery, w.opts.ProbeFloor = 300*time.Millisecond, 100*time.Millisecond
	w.start("one")
	session, _ := w.session("n1")
	w.agent(session)
	target := w.target("s3")
	schedules := map[string]*v1alpha1.VMSchedule{}
	for name, after := range map[string]*int32{"asks": ptr.To(int32(wait)), "does-not-ask": nil, "users": ptr.To(int32(wait))} {
		w.vm(name)
		schedules[name] = w.schedule(name, target.Name, func(s *v1alpha1.VMScheduleSpec) { s.VM, s.ResumeAfterTargetReadySeconds = name, after })
	}
	asks, users := schedules["asks"], schedules["users"]
	w.eventually("all have been good once", func() bool {
		for _, s := range schedules {
			if w.refresh(s); s.Status.LastSuccessTime == nil {
				return false
			}
		}
		return true
	})
	require.NoError(t, w.client.Patch(w.ctx, users, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`))))

	for _, op := range []string{"probe", "capture", "finalize"} {
		w.fake.fail(op, &protocol.Error{Reason: protocol.AccessDenied, Message: "the key was locked"})
	}
	w.eventually("failures suspend them, and the target is known to be bad", func() bool {
		w.refresh(target)
		for _, s := range schedules {
			w.refresh(s)
		}
		return suspended(asks) == v1alpha1.SuspendedMaxFailures && suspended(schedules["does-not-ask"]) == v1alpha1.SuspendedMaxFailures &&
			meta.IsStatusConditionFalse(target.Status.Conditions, v1alpha1.ConditionReady)
	})
	w.holds("it is not resumed while the target is bad", (wait+1)*time.Second, func() bool { w.refresh(asks); return asks.Spec.Suspend })

	for _, op := range []string{"probe", "capture", "finalize"} {
		w.fake.fail(op, nil)
	}
	before := asks.Status.LastSuccessTime.Time
	w.eventually("it runs again", func() bool {
		w.refresh(asks)
		return suspended(asks) == "" && asks.Status.LastSuccessTime.After(before) && asks.Status.ConsecutiveFailures == 0
	})
	require.NotContains(t, asks.Annotations, v1alpha1.AnnotationSuspendedBy)
	w.refresh(target)
	good := meta.FindStatusCondition(target.Status.Conditions, v1alpha1.ConditionReady)
	resumed := meta.FindStatusCondition(asks.Status.Conditions, v1alpha1.ConditionSuspended)
	require.GreaterOrEqual(t, resumed.LastTransitionTime.Sub(good.LastTransitionTime.Time), wait*time.Second, "the target was to be well for so long")
	for name, reason := range map[string]string{"does-not-ask": v1alpha1.SuspendedMaxFailures, "users": v1alpha1.SuspendedUser} {
		s := schedules[name]
		w.refresh(s)
		require.True(t, s.Spec.Suspend, name)
		require.Equal(t, reason, suspended(s), name)
	}
}
