package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BackupTarget is a place that backups go to: an S3 bucket or a directory.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=hbt
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BackupTarget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BackupTargetSpec   `json:"spec"`
	Status BackupTargetStatus `json:"status,omitempty"`
}

// BackupTargetSpec says where a target is and how it is reached.
//
// +kubebuilder:validation:XValidation:rule="has(self.s3) != has(self.directory)",message="exactly one of spec.s3 and spec.directory must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.s3) || has(self.credentialSecret)",message="spec.credentialSecret is required with spec.s3: name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
// +kubebuilder:validation:XValidation:rule="!has(self.directory) || !has(self.credentialSecret)",message="spec.credentialSecret does not belong to a directory: remove it"
type BackupTargetSpec struct {
	// +optional
	S3 *S3Target `json:"s3,omitempty"`
	// +optional
	Directory *DirectoryTarget `json:"directory,omitempty"`

	// CredentialSecret names a Secret in Hayloft's own namespace with the keys
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	CredentialSecret string `json:"credentialSecret,omitempty"`

	// MaxConcurrentJobs bounds the transfers to and from this target at once.
	// +kubebuilder:default=8
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MaxConcurrentJobs int32 `json:"maxConcurrentJobs,omitempty"`

	// Compression of new backups; the names are longhorn-engine's, which
	// accepts any string and fails late on an unknown one.
	// +kubebuilder:default=lz4
	// +kubebuilder:validation:Enum=none;lz4;gzip
	Compression string `json:"compression,omitempty"`

	// Threads is the number of blocks (2 MiB each) in flight per transfer.
	// Longhorn's own default is 2.
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Threads int32 `json:"threads,omitempty"`
}

// S3Target is a bucket of an S3 service.
type S3Target struct {
	// Endpoint is the service's URL, http or https; empty for AWS.
	// +optional
	// +kubebuilder:validation:Pattern=`^https?://[^/\s]+/?$`
	Endpoint string `json:"endpoint,omitempty"`
	// Bucket must exist. The rule is S3's own for bucket names.
	// +kubebuilder:validation:Pattern=`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`
	Bucket string `json:"bucket"`
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]+$`
	// +kubebuilder:validation:MaxLength=63
	Region string `json:"region"`
	// VirtualHostedStyle puts the bucket into the host name of requests.
	// +optional
	VirtualHostedStyle bool `json:"virtualHostedStyle,omitempty"`
	// CABundle is a PEM bundle to trust for the endpoint's certificate.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`
}

// DirectoryTarget is a directory that every replica and the coordinator see
// under the same path, such as a shared mount.
type DirectoryTarget struct {
	// Path is absolute and must exist.
	// +kubebuilder:validation:Pattern=`^/[^\s]*$`
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`
}

// BackupTargetStatus is what the last probe of a target found.
type BackupTargetStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// URL in the form that Longhorn uses, without credentials.
	// +optional
	URL string `json:"url,omitempty"`
	// LastProbeTime is when a probe last ended.
	// +optional
	LastProbeTime *metav1.Time `json:"lastProbeTime,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BackupTargetList is a list of BackupTargets.
//
// +kubebuilder:object:root=true
type BackupTargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackupTarget `json:"items"`
}
