package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AnnotationVerify on a VMBackup asks for a look whether it is whole on its target:
// VerifyBackups or VerifyBlocks, a space, and anything that makes it another value than
// the last one. The answer is in status.verification and in the condition Verified.
const (
	AnnotationVerify = "hayloft.dev/verify-requested"
	// VerifyBackups looks at the document and at the list of blocks of each disk.
	VerifyBackups = "backups"
	// VerifyBlocks also looks for every block, which takes a request for each 2 MiB.
	VerifyBlocks = "blocks"
)

// ConditionVerified of a VMBackup is what the last look found that has ended: True, it
// was whole; False, it was not; Unknown, that could not be found out.
const ConditionVerified = "Verified"

// VerificationResult is what a verification found.
//
// +kubebuilder:validation:Enum=Passed;Damaged;Unknown
type VerificationResult string

// The results of a verification.
const (
	VerificationPassed  VerificationResult = "Passed"  // whole, as far as was looked
	VerificationDamaged VerificationResult = "Damaged" // something of it is not there, or not what it should be
	VerificationUnknown VerificationResult = "Unknown" // that could not be found out
)

// Verification is a look whether a point is whole on its target.
type Verification struct {
	// Requested is the request (annotation hayloft.dev/verify-requested) that it answers.
	// +kubebuilder:validation:MaxLength=128
	Requested string `json:"requested"`
	// AllBlocks: every block is looked for.
	// +optional
	AllBlocks bool        `json:"allBlocks,omitempty"`
	StartedAt metav1.Time `json:"startedAt"`
	// EndedAt is not set while it is under way.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// DisksDone of Disks were looked at; Disks is 0 until the document was read.
	// +optional
	DisksDone int32 `json:"disksDone,omitempty"`
	// +optional
	Disks int32 `json:"disks,omitempty"`
	// Result is set when it has ended.
	// +optional
	Result VerificationResult `json:"result,omitempty"`
	// Reason and Message say what was found, or is waited for.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
}
