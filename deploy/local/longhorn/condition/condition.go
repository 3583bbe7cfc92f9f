// Package condition sets Longhorn's conditions, whose times are strings and which keep their transition time as long as
// their status stays the same. It is not for Kubernetes conditions: those are metav1.Condition.
package condition

import (
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
)

// Set returns conditions with the named one as given. The transition time is the current one when the status is new or
// another one than before. The slice that is passed in is not changed.
func Set(conditions []lh.Condition, name string, status lh.ConditionStatus, reason, message string) []lh.Condition {
	next := lh.Condition{Type: name, Status: status, Reason: reason, Message: message}
	out := make([]lh.Condition, 0, len(conditions)+1)
	found := false
	for _, c := range conditions {
		if c.Type != name {
			out = append(out, c)
			continue
		}
		found = true
		next.LastProbeTime = c.LastProbeTime
		next.LastTransitionTime = c.LastTransitionTime
		if c.Status != status {
			next.LastTransitionTime = Now()
		}
		out = append(out, next)
	}
	if !found {
		next.LastTransitionTime = Now()
		out = append(out, next)
	}
	return out
}

// Get returns the named condition, or a zero one.
func Get(conditions []lh.Condition, name string) lh.Condition {
	for _, c := range conditions {
		if c.Type == name {
			return c
		}
	}
	return lh.Condition{}
}

// Now is the current time as Longhorn writes it: UTC, RFC 3339 in seconds.
func Now() string { return time.Now().UTC().Format(time.RFC3339) }
