package status

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

// ScheduleState is whether a VMSchedule runs.
type ScheduleState struct {
	// Word is one of New, Active, Suspended, Refused and Ending.
	Word string
	// Sentence says what that means and why it is so.
	Sentence string
}

// Schedule reads a VMSchedule. What its user has just said counts before what
// the coordinator has written.
func Schedule(s *v1alpha1.VMSchedule) ScheduleState {
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	suspended := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionSuspended)
	switch {
	case !s.DeletionTimestamp.IsZero():
		return ScheduleState{"Ending", "it was deleted; its points are being told to go"}
	case s.Spec.Suspend:
		why := s.Annotations[v1alpha1.AnnotationSuspendReason]
		by := s.Annotations[v1alpha1.AnnotationSuspendedBy]
		switch {
		case by == v1alpha1.SuspendedByUpgrade:
			why = "suspended for an upgrade: " + why
		case by == v1alpha1.SuspendedByCoordinator:
			why = fmt.Sprintf("suspended after failures: %s; resume it when that is mended: hayloft schedule resume %s", why, s.Name)
		default:
			why = "suspended by a user"
		}
		return ScheduleState{"Suspended", why}
	case ready == nil:
		return ScheduleState{"New", "no coordinator has looked at it yet"}
	case ready.Status != metav1.ConditionTrue:
		return ScheduleState{"Refused", "it does not run: " + ready.Message}
	case suspended != nil && suspended.Status == metav1.ConditionTrue:
		return ScheduleState{"Active", "it was resumed a moment ago"}
	}
	return ScheduleState{"Active", ready.Message}
}
