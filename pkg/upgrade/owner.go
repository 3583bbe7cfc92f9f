package upgrade

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

// fieldOwner is the field manager of what an upgrade writes, whichever program
// makes its steps.
const fieldOwner = "hayloft-upgrade"

// takenOver tells whether somebody has said spec.suspend since an upgrade did. The
// API server keeps who said a field last, or applies it, in metadata.managedFields:
// an upgrade says suspend and its mark in one write, so whoever says suspend later
// has it without the mark. That holds also where no coordinator runs that would take
// the mark of a schedule that was resumed in between.
//
// Whoever patches what is so already has said nothing as far as the API server
// knows; the webhook tells them.
func takenOver(s *v1alpha1.VMSchedule) bool {
	for _, e := range s.ManagedFields {
		if suspend, mark := says(e); suspend && !mark {
			return true
		}
	}
	return false
}

// says tells whether a manager owns spec.suspend, and whether the mark of who
// suspended.
func says(e metav1.ManagedFieldsEntry) (suspend, mark bool) {
	if e.FieldsV1 == nil {
		return false, false
	}
	var owned struct {
		Metadata struct {
			Annotations map[string]any `json:"f:annotations"`
		} `json:"f:metadata"`
		Spec map[string]any `json:"f:spec"`
	}
	// What cannot be read says nothing of these two.
	_ = json.Unmarshal(e.FieldsV1.Raw, &owned)
	_, suspend = owned.Spec["f:suspend"]
	_, mark = owned.Metadata.Annotations["f:"+v1alpha1.AnnotationSuspendedBy]
	return suspend, mark
}
