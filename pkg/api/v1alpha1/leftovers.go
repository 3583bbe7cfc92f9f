package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TargetLeftovers is what the last look for leftovers on a target found: what nobody
// needs any more. Looks are made when they are asked for (annotation
// hayloft.dev/leftovers-requested), and now and then after a refresh; these count, and
// remove nothing.
type TargetLeftovers struct {
	// Requested is the last request that was taken up.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Requested string `json:"requested,omitempty"`
	// Time when it ended; none: it is under way.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
	// Message says why it failed, or why nothing was removed.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// InProgress are transfers that never ended: while one is there, no block of its
	// volume is freed.
	// +optional
	InProgress int64 `json:"inProgress,omitempty"`
	// NoDocument are complete backups that no document names.
	// +optional
	NoDocument int64 `json:"noDocument,omitempty"`
	// Drafts are of points that are gone.
	// +optional
	Drafts int64 `json:"drafts,omitempty"`
	// Removable of these may be removed: they are old enough, and nobody else's.
	// +optional
	Removable int64 `json:"removable,omitempty"`
	// Removed of these.
	// +optional
	Removed int64 `json:"removed,omitempty"`
	// Items are the first of them.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Items []TargetLeftover `json:"items,omitempty"`
}

// TargetRemembered is what became of the last request to find points again that were
// deleted with their data kept (annotation hayloft.dev/remember-points).
type TargetRemembered struct {
	// Requested is the word of the last request that was taken up.
	// +kubebuilder:validation:MaxLength=64
	Requested string `json:"requested"`
	// Points are how many it had found again, if they are still there.
	Points int64 `json:"points"`
}

// TargetLeftover is one leftover.
type TargetLeftover struct {
	// +kubebuilder:validation:Enum=InProgress;NoDocument;Draft
	Kind string `json:"kind"`
	// Path of a draft.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`
	// Volume and Backup as Longhorn calls them.
	// +optional
	Volume string `json:"volume,omitempty"`
	// +optional
	Backup string `json:"backup,omitempty"`
	// Point is the UID of the VMBackup that it was made for.
	// +optional
	Point types.UID `json:"point,omitempty"`
	// Keep is why it is not removed.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Keep string `json:"keep,omitempty"`
	// +optional
	Removed bool `json:"removed,omitempty"`
}
