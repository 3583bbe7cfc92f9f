package rules

import (
	"hayloft.dev/coordinator/refresh"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Target are the reasons against a BackupTarget's spec, beside those that its
// schema holds by itself.
func Target(t *v1alpha1.BackupTarget) []Refusal {
	r := t.Spec.Refresh
	if r == nil {
		return nil
	}
	if _, _, err := refresh.ParseInterval(r.Interval); err != nil {
		return []Refusal{refusal(Refused, "spec.refresh.interval: %v: correct it, or remove it for the default of %s", err, refresh.DefaultBounds().Default)}
	}
	return nil
}
