package plan

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

// maxMessage is the API's limit on a condition's message.
const maxMessage = 32768

func set(conditions *[]metav1.Condition, now time.Time, generation int64, kind string, status metav1.ConditionStatus, reason, message string) {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message,
		ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now),
	})
}

// failure is the cause for which an object failed, nil if it did not. It is
// written before the clean-up begins.
func failure(conditions []metav1.Condition) *metav1.Condition {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if c == nil || c.Status != metav1.ConditionFalse {
		return nil
	}
	return c
}

func removeCondition(conditions *[]metav1.Condition, kind string) {
	meta.RemoveStatusCondition(conditions, kind)
}

// ended: nothing is being done or waited for any more.
func ended(conditions []metav1.Condition) bool {
	return meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionProgressing)
}

// standing is what an object was doing last, for people.
func standing(conditions []metav1.Condition) string {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionProgressing)
	if c == nil || c.Message == "" {
		return "nothing done yet"
	}
	return c.Message
}

// overdue: a backup or restore has taken longer than a whole one may. One that
// has not begun counts from its creation.
func overdue(now time.Time, created metav1.Time, started *metav1.Time, limit time.Duration) bool {
	began := created
	if started != nil {
		began = *started
	}
	return now.Sub(began.Time) > limit
}

// total adds up the progress of disks. The text says 100% only of what has ended
// well, which is for whoever ends it: moved is not yet verified.
func total(each []*v1alpha1.Progress) (*v1alpha1.Progress, string) {
	var sum v1alpha1.Progress
	for _, p := range each {
		if p != nil {
			sum.BytesDone += p.BytesDone
			sum.BytesTotal += p.BytesTotal
		}
	}
	if sum.BytesTotal == 0 {
		return nil, ""
	}
	return &sum, fmt.Sprintf("%d%%", min(99, sum.BytesDone*100/sum.BytesTotal))
}
