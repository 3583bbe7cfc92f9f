package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Labels, annotations and finalizers that Hayloft sets. Their prefix is the
// API group, so none collides with Longhorn's, Harvester's or KubeVirt's.
const (
	// LabelPoint holds the UID of the VMBackup that an object belongs to.
	LabelPoint = "hayloft.dev/point"
	// LabelRestore holds the UID of the VMRestore that made an object.
	LabelRestore = "hayloft.dev/restore"
	// LabelLease tells the two kinds of coordination Leases apart: "session"
	// or "volume".
	LabelLease = "hayloft.dev/lease"
	// LabelNode holds the node of a session Lease.
	LabelNode = "hayloft.dev/node"
	// LabelVM holds the name of the VM that a VMBackup is a point of.
	LabelVM = "hayloft.dev/vm"
	// LabelFormerVM and LabelFormerDisk tell of a claim that no VM has whose disk
	// it was: of a VM that a restore replaced, or that a single disk was restored
	// of. They hold the VM's name and the disk's.
	LabelFormerVM   = "hayloft.dev/former-vm"
	LabelFormerDisk = "hayloft.dev/former-disk"
	// LabelSchedule holds the UID of the VMSchedule that made a VMBackup,
	// AnnotationSchedule its name, and AnnotationNominalTime the time that the
	// point was due, as NominalTimeLayout in UTC.
	LabelSchedule         = "hayloft.dev/schedule"
	AnnotationSchedule    = "hayloft.dev/schedule-name"
	AnnotationNominalTime = "hayloft.dev/nominal-time"
	// AnnotationSuspendedBy tells who suspended a VMSchedule, and
	// AnnotationSuspendReason why, in a sentence; without them a user did.
	AnnotationSuspendedBy   = "hayloft.dev/suspended-by"
	AnnotationSuspendReason = "hayloft.dev/suspend-reason"
	// AnnotationHeld keeps a VMSchedule that failures have suspended from resuming by
	// itself while an upgrade goes on. It holds the reason that was given for that.
	AnnotationHeld = "hayloft.dev/held-for-upgrade"
	// LabelProtection on a VM says that it is meant to have no points, when it is
	// ProtectionNone: such a VM is not told of as unprotected.
	LabelProtection = "hayloft.dev/protection"
	ProtectionNone  = "none"
	// AnnotationForceDeletion, "true" on a VMBackup that is being deleted, lets it
	// go at once and leaves behind what it stands for. Whoever may set it could as
	// well take the finalizer away, without being told what is left.
	AnnotationForceDeletion = "hayloft.dev/force-deletion"
	// LabelFound marks a VMBackup that was found on its target. It holds the UID of
	// the cluster that took the point.
	LabelFound = "hayloft.dev/found"
	// LabelTarget holds the UID of the BackupTarget that something is kept for, and
	// LabelKept what it is: KeptIndex is what is known of its documents, KeptGraves
	// which points were deleted here with their data kept.
	LabelTarget = "hayloft.dev/target"
	LabelKept   = "hayloft.dev/kept"
	KeptIndex   = "index"
	KeptGraves  = "graves"
	// AnnotationRefresh on a BackupTarget asks for a refresh: any value that is not
	// yet in status.refresh.requested.
	AnnotationRefresh = "hayloft.dev/refresh-requested"
	// AnnotationTest on a BackupTarget asks for a test of it: any value that is not
	// status.test.requested.
	AnnotationTest = "hayloft.dev/test-requested"
	// AnnotationRemember on a BackupTarget has points found again that were deleted
	// here with their data kept: RememberAll, or UIDs and NAMESPACE/NAME of points
	// with commas between them, then a space and a word that is not yet
	// status.remembered.requested.
	AnnotationRemember = "hayloft.dev/remember-points"
	RememberAll        = "all"
	// AnnotationLeftovers on a BackupTarget asks for a look for what nobody needs any
	// more: LeftoversList or LeftoversRemove, a space, and anything that makes it
	// another value than the last one. The answer is in status.leftovers.
	AnnotationLeftovers = "hayloft.dev/leftovers-requested"
	LeftoversList       = "list"
	LeftoversRemove     = "remove"
	// AnnotationFormerInterval keeps the refresh interval that an object of
	// Harvester's or Longhorn's had before Hayloft corrected it.
	AnnotationFormerInterval = "hayloft.dev/former-refresh-interval"
	// FinalizerData keeps a VMBackup until its data is removed or given up.
	FinalizerData = "hayloft.dev/data"
	// FinalizerRestore keeps a VMRestore until what it made half is removed.
	FinalizerRestore = "hayloft.dev/restore"
	// FinalizerPoints keeps a VMSchedule until the points are deleted that are to
	// go with it.
	FinalizerPoints = "hayloft.dev/points"
)

// NominalTimeLayout is how AnnotationNominalTime is written.
const NominalTimeLayout = time.RFC3339

// Who suspends a VMSchedule, in AnnotationSuspendedBy.
const (
	SuspendedByCoordinator = "coordinator" // after too many failures
	SuspendedByUpgrade     = "upgrade"     // hayloft upgrade prepare
)

// Condition types. Ready is true when the object is fully usable; Progressing
// says, while it is not, what is being done or waited for.
const (
	ConditionReady       = "Ready"
	ConditionProgressing = "Progressing"
)

// ConditionSuspended is true while a VMSchedule is suspended; its reason tells
// who did that.
const (
	ConditionSuspended = "Suspended"
	// ConditionFreesSpace of a BackupTarget: what is deleted there is gone.
	ConditionFreesSpace = "DeletesFreeSpace"
	// ConditionDefault of a BackupTarget with spec.default: it is the only one.
	ConditionDefault     = "Default"
	SuspendedUser        = "User"
	SuspendedMaxFailures = "MaxFailures"
	SuspendedUpgrade     = "Upgrade"
	NotSuspended         = "Active"
)

// BackingImage names the image that a volume was made from. A backup of such a
// volume holds only the difference to the image, so both fields must match
// where it is restored.
type BackingImage struct {
	// Name of Longhorn's BackingImage object.
	Name string `json:"name"`
	// Checksum is Longhorn's sha512 of the image file, hex.
	Checksum string `json:"checksum"`
	// Source is what the image was made of; nil where nothing tells.
	// +optional
	Source *ImageSource `json:"source,omitempty"`
}

// ImageSource is a VirtualMachineImage of Harvester's, as far as it takes to make it
// again.
type ImageSource struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// DisplayName is unique in its namespace; empty: not known.
	// +optional
	DisplayName string `json:"displayName,omitempty"`
	// URL that the image can be fetched from; empty: none, since it was uploaded or
	// made of a volume, or since the URL holds credentials.
	// +optional
	URL string `json:"url,omitempty"`
	// Backup says that URL is that of Longhorn's own backup of the image.
	// +optional
	Backup bool `json:"backup,omitempty"`
}

// ObjectReference names the object that a NodeJob works for.
type ObjectReference struct {
	// +kubebuilder:validation:Enum=VMBackup;VMRestore
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
}

// Progress of a transfer. Bytes are of the disk's data, before compression.
type Progress struct {
	BytesDone  int64 `json:"bytesDone"`
	BytesTotal int64 `json:"bytesTotal"`
}
