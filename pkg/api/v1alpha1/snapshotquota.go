package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SnapshotQuota limits the space that engine snapshots of VMs take in the
// cluster, those of points of both types. What the disks themselves hold does
// not count. Where a namespace has several, each of them must be kept.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hq
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Limit",type=string,JSONPath=`.spec.limit`
// +kubebuilder:printcolumn:name="Used",type=string,JSONPath=`.status.used`
// +kubebuilder:printcolumn:name="Per VM",type=string,JSONPath=`.spec.vmLimit`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type SnapshotQuota struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SnapshotQuotaSpec   `json:"spec"`
	Status SnapshotQuotaStatus `json:"status,omitempty"`
}

// SnapshotQuotaSpec are the limits. Zero, or a limit that is left out, is none.
//
// +kubebuilder:validation:XValidation:rule="!has(self.limit) || (type(self.limit) == int ? self.limit >= 0 : !self.limit.startsWith('-'))",message="spec.limit must not be negative: 0 means no limit"
// +kubebuilder:validation:XValidation:rule="!has(self.vmLimit) || (type(self.vmLimit) == int ? self.vmLimit >= 0 : !self.vmLimit.startsWith('-'))",message="spec.vmLimit must not be negative: 0 means no limit"
// +kubebuilder:validation:XValidation:rule="!has(self.vmLimits) || self.vmLimits.all(vm, type(self.vmLimits[vm]) == int ? self.vmLimits[vm] >= 0 : !self.vmLimits[vm].startsWith('-'))",message="spec.vmLimits must not hold negative values: 0 means no limit"
type SnapshotQuotaSpec struct {
	// Limit is for all VMs of the namespace together.
	// +optional
	Limit *resource.Quantity `json:"limit,omitempty"`
	// VMLimit is for each VM that VMLimits does not name.
	// +optional
	VMLimit *resource.Quantity `json:"vmLimit,omitempty"`
	// VMLimits maps a VM -> its own limit.
	// +optional
	// +kubebuilder:validation:MaxProperties=1000
	VMLimits map[string]resource.Quantity `json:"vmLimits,omitempty"`
}

// SnapshotQuotaStatus is what is used.
type SnapshotQuotaStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Used by all VMs of the namespace.
	// +optional
	Used *resource.Quantity `json:"used,omitempty"`
	// VMs maps a VM -> what its snapshots use; VMs without any are left out.
	// +optional
	VMs map[string]resource.Quantity `json:"vms,omitempty"`
	// ObservedAt is when this was last added up.
	// +optional
	ObservedAt *metav1.Time `json:"observedAt,omitempty"`
}

// SnapshotQuotaList is a list of SnapshotQuotas.
//
// +kubebuilder:object:root=true
type SnapshotQuotaList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SnapshotQuota `json:"items"`
}
