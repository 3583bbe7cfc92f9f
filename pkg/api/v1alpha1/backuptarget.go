package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackupTarget is a place that backups go to: a bucket, a container, a share, or a
// directory.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=hbt
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Default",type=boolean,JSONPath=`.spec.default`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Points",type=integer,JSONPath=`.status.refresh.documents.points`
// +kubebuilder:printcolumn:name="Refresh",type=string,JSONPath=`.status.refresh.effectiveInterval`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BackupTarget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BackupTargetSpec   `json:"spec"`
	Status BackupTargetStatus `json:"status,omitempty"`
}

// BackupTargetSpec says where a target is, how it is reached, and who may use it.
//
// +kubebuilder:validation:XValidation:rule=`[has(self.s3), has(self.nfs), has(self.cifs), has(self.azureBlob), has(self.directory)].exists_one(x, x)`,message=`exactly one of spec.s3, spec.nfs, spec.cifs, spec.azureBlob and spec.directory must be set`
// +kubebuilder:validation:XValidation:rule=`!has(self.s3) || has(self.credentialSecret)`,message=`spec.credentialSecret is required with spec.s3: name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`
// +kubebuilder:validation:XValidation:rule=`!has(self.cifs) || has(self.credentialSecret)`,message=`spec.credentialSecret is required with spec.cifs: name a Secret with CIFS_USERNAME and CIFS_PASSWORD`
// +kubebuilder:validation:XValidation:rule=`!has(self.azureBlob) || has(self.credentialSecret)`,message=`spec.credentialSecret is required with spec.azureBlob: name a Secret with AZBLOB_ACCOUNT_NAME and AZBLOB_ACCOUNT_KEY`
// +kubebuilder:validation:XValidation:rule=`!has(self.directory) || !has(self.credentialSecret)`,message=`spec.credentialSecret does not belong to a directory: remove it`
// +kubebuilder:validation:XValidation:rule=`!has(self.nfs) || !has(self.credentialSecret)`,message=`spec.credentialSecret does not belong to spec.nfs, which knows no keys: remove it`
// +kubebuilder:validation:XValidation:rule=`!has(self.default) || !self.default || !has(self.readOnly) || !self.readOnly`,message=`spec.default does not go with spec.readOnly: a target that takes no backups cannot be the one that backups go to`
type BackupTargetSpec struct {
	// +optional
	S3 *S3Target `json:"s3,omitempty"`
	// +optional
	NFS *NFSTarget `json:"nfs,omitempty"`
	// +optional
	CIFS *CIFSTarget `json:"cifs,omitempty"`
	// +optional
	AzureBlob *AzureBlobTarget `json:"azureBlob,omitempty"`
	// +optional
	Directory *DirectoryTarget `json:"directory,omitempty"`

	// Default has VMBackups and VMSchedules that name no target go here. One target
	// at most is the default.
	// +optional
	Default bool `json:"default,omitempty"`
	// ReadOnly has nothing written to or removed from the target, probes included:
	// its points can be restored, and no others are made.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`
	// AllowedNamespaces are those whose points may be on this target; unset: all.
	// +optional
	AllowedNamespaces *AllowedNamespaces `json:"allowedNamespaces,omitempty"`

	// CredentialSecret names a Secret in Hayloft's own namespace. Its keys are those
	// of Longhorn's own Secrets: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3,
	// CIFS_USERNAME and CIFS_PASSWORD, or AZBLOB_ACCOUNT_NAME and
	// AZBLOB_ACCOUNT_KEY; HTTP_PROXY, HTTPS_PROXY and NO_PROXY where wanted.
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

	// Refresh says how often the target is looked through for points, and what
	// that may cost.
	// +optional
	Refresh *TargetRefresh `json:"refresh,omitempty"`

	// Encryption says to whom the Secrets in documents are encrypted. Without
	// recipients they are as readable as the target is.
	// +optional
	Encryption *TargetEncryption `json:"encryption,omitempty"`
}

// TargetRefresh says how often a target is looked through for points that other
// clusters have made, or that are gone.
type TargetRefresh struct {
	// Interval is a duration such as 5m, or Never. Unset and 0 mean the default of
	// 5m. A shorter one than the coordinator's floor (60s), or than the cost of the
	// last refresh allows, is lengthened: status.refresh tells what is in effect.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self == '' || self == '0' || self == 'Never' || self.matches('^([0-9]+(\\\\.[0-9]+)?(ms|s|m|h))+$')",message="spec.refresh.interval must be Never or a duration, such as 5m, that is not negative"
	Interval string `json:"interval,omitempty"`
	// MaxCPU is the CPU time that refreshing may take in any hour, as a share of
	// one core: 10m, the default, is 1 %, 36 s in an hour.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(type(self) == int ? string(self) : self).compareTo(quantity('1m')) >= 0 && quantity(type(self) == int ? string(self) : self).compareTo(quantity('1')) <= 0",message="spec.refresh.maxCPU must be from 1m to 1: a share of one core"
	MaxCPU *resource.Quantity `json:"maxCPU,omitempty"`
}

// BackupTargetStatus is what the last probe of a target found.
type BackupTargetStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// ChangedTime is when a change of the spec was last taken note of; none: it is as
	// it was made. What began before that may have gone to another place, with other
	// credentials.
	// +optional
	ChangedTime *metav1.Time `json:"changedTime,omitempty"`
	// URL in the form that Longhorn uses, without credentials.
	// +optional
	URL string `json:"url,omitempty"`
	// LastProbeTime is when a probe last ended.
	// +optional
	LastProbeTime *metav1.Time `json:"lastProbeTime,omitempty"`
	// Test is what the last test that was asked for found.
	// +optional
	Test *TargetTest `json:"test,omitempty"`
	// Refresh is what looking through the target found, and at what cost.
	// +optional
	Refresh *TargetRefreshStatus `json:"refresh,omitempty"`
	// Leftovers is what the last look for leftovers found.
	// +optional
	Leftovers *TargetLeftovers `json:"leftovers,omitempty"`
	// Remembered is what became of the last request for forgotten points.
	// +optional
	Remembered *TargetRemembered `json:"remembered,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TargetRefreshStatus is the pace of refreshing a target and what it found.
type TargetRefreshStatus struct {
	// EffectiveInterval is the shortest time between two refreshes now.
	// +optional
	EffectiveInterval *metav1.Duration `json:"effectiveInterval,omitempty"`
	// IntervalFrom says what it comes from.
	// +optional
	// +kubebuilder:validation:Enum=Configured;Default;Floor;Cost;Never
	IntervalFrom string `json:"intervalFrom,omitempty"`
	// StartedTime is when a refresh last began, LastTime when one last ended.
	// +optional
	StartedTime *metav1.Time `json:"startedTime,omitempty"`
	// +optional
	LastTime *metav1.Time `json:"lastTime,omitempty"`
	// SucceededTime is when the target was last listed as a whole.
	// +optional
	SucceededTime *metav1.Time `json:"succeededTime,omitempty"`
	// NextTime is when the next one may begin; none: not by itself.
	// +optional
	NextTime *metav1.Time `json:"nextTime,omitempty"`
	// Requested is the last request (annotation hayloft.dev/refresh-requested)
	// that was taken up.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Requested string `json:"requested,omitempty"`
	// Cost of the last refresh.
	// +optional
	Cost *RefreshCost `json:"cost,omitempty"`
	// SpentCPUMilliseconds is the CPU time that counted against the limit when this
	// was written: that of one hour.
	// +optional
	SpentCPUMilliseconds int64 `json:"spentCPUMilliseconds,omitempty"`
	// Failures in a row, and why the last refresh failed.
	// +optional
	Failures int32 `json:"failures,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// Circuit is Open while the target is left alone because it kept failing.
	// +optional
	// +kubebuilder:validation:Enum=Closed;Open;HalfOpen
	Circuit string `json:"circuit,omitempty"`
	// Documents counts what the last whole listing found.
	// +optional
	Documents *RefreshedDocuments `json:"documents,omitempty"`
	// Faults are documents that are not taken for points, the first of them by
	// path.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	Faults []DocumentFault `json:"faults,omitempty"`
	// Waiting are namespaces of points on the target that do not exist here, or
	// that points are not made in; the first of them by name.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	Waiting []WaitingNamespace `json:"waiting,omitempty"`
}

// RefreshCost is what one refresh took, its child processes included.
type RefreshCost struct {
	CPUMilliseconds  int64 `json:"cpuMilliseconds"`
	WallMilliseconds int64 `json:"wallMilliseconds"`
	// Requests to the target.
	Requests int64 `json:"requests"`
}

// RefreshedDocuments counts the documents on a target. Total is the sum of
// Points, Forgotten, Waiting, Faulty and Unread.
type RefreshedDocuments struct {
	Total int64 `json:"total"`
	// Points have a VMBackup here.
	Points int64 `json:"points"`
	// Forgotten points were deleted here with their data kept: they do not come
	// back.
	// +optional
	Forgotten int64 `json:"forgotten,omitempty"`
	// Waiting are in namespaces that do not exist here.
	// +optional
	Waiting int64 `json:"waiting,omitempty"`
	// Faulty documents are not taken for points.
	// +optional
	Faulty int64 `json:"faulty,omitempty"`
	// Unread documents are left for the next refresh, which this one's limits ended.
	// +optional
	Unread int64 `json:"unread,omitempty"`
	// Unchanged, New, Changed and Gone compare the last listing with the one before.
	// +optional
	Unchanged int64 `json:"unchanged,omitempty"`
	// +optional
	New int64 `json:"new,omitempty"`
	// +optional
	Changed int64 `json:"changed,omitempty"`
	// +optional
	Gone int64 `json:"gone,omitempty"`
}

// DocumentFault is a document that is not taken for a point.
type DocumentFault struct {
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
}

// WaitingNamespace has points on the target, and is not here.
type WaitingNamespace struct {
	Namespace string `json:"namespace"`
	Points    int64  `json:"points"`
	// Message says why there are no VMBackups of them.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}

// NoSuchNamespace is the message of a WaitingNamespace that could be made.
const NoSuchNamespace = "it does not exist here: create it, and the points appear"

// BackupTargetList is a list of BackupTargets.
//
// +kubebuilder:object:root=true
type BackupTargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BackupTarget `json:"items"`
}
