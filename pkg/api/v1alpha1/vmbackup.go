package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// VMBackup is one point of one virtual machine: all its disks as they were at
// one moment, on a BackupTarget, with what is needed to make the VM again.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hb
// +kubebuilder:subresource:status
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must be at most 63 characters"
// +kubebuilder:printcolumn:name="VM",type=string,JSONPath=`.spec.vm`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.target`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.progressText`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Progressing")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VMBackup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   VMBackupSpec   `json:"spec"`
	Status VMBackupStatus `json:"status,omitempty"`
}

// DeletionPolicy says what deleting a VMBackup does to its data on the target.
//
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	DeletionDelete DeletionPolicy = "Delete"
	DeletionRetain DeletionPolicy = "Retain"
)

// VMBackupSpec says which VM goes to which target.
type VMBackupSpec struct {
	// VM is the name of a VirtualMachine in the same namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.vm is immutable: create another VMBackup"
	VM string `json:"vm"`
	// Target is the name of a BackupTarget.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.target is immutable: create another VMBackup"
	Target string `json:"target"`
	// DeletionPolicy: Delete removes the data with the object, Retain keeps it.
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// BackupPhase is where a point is in its life.
//
// +kubebuilder:validation:Enum=Pending;Cutting;Uploading;Verifying;Ready;Failed;Deleting
type BackupPhase string

// The phases of a VMBackup, in order. Ready and Failed are final.
const (
	BackupPending   BackupPhase = "Pending"   // accepted or waiting, nothing done yet
	BackupCutting   BackupPhase = "Cutting"   // engine snapshots of all disks are being cut
	BackupUploading BackupPhase = "Uploading" // at least one disk is not on the target yet
	BackupVerifying BackupPhase = "Verifying" // the target worker inspects the disks and writes the document
	BackupReady     BackupPhase = "Ready"
	BackupFailed    BackupPhase = "Failed"
	BackupDeleting  BackupPhase = "Deleting"
)

// Consistency tells how a point's disks were brought to rest when they were cut.
//
// +kubebuilder:validation:Enum=CrashConsistent
type Consistency string

// ConsistencyCrash: all disks cut in one window, nothing frozen: what the
// guest would find after a power cut.
const ConsistencyCrash Consistency = "CrashConsistent"

// VMBackupStatus is a summary of a few KiB; the VM itself and its Secrets are
// in the document on the target.
type VMBackupStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	Phase BackupPhase `json:"phase,omitempty"`
	// SourceUID is the VM's UID when the point was taken.
	// +optional
	SourceUID types.UID `json:"sourceUID,omitempty"`
	// +optional
	Consistency Consistency `json:"consistency,omitempty"`
	// CutWindowMilliseconds is the time between the first snapshot asked for
	// and the last one cut.
	// +optional
	CutWindowMilliseconds *int64 `json:"cutWindowMilliseconds,omitempty"`
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// CutAt is the moment that the point stands for.
	// +optional
	CutAt *metav1.MicroTime `json:"cutAt,omitempty"`
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// Document is the path of the metadata document on the target, set when
	// the point is Ready.
	// +optional
	Document string `json:"document,omitempty"`
	// DocumentDigest is the document's own digest, "sha256:<hex>".
	// +optional
	DocumentDigest string `json:"documentDigest,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Disks []BackupDisk `json:"disks,omitempty"`
	// +optional
	Progress *Progress `json:"progress,omitempty"`
	// ProgressText is Progress for people: "41%".
	// +optional
	ProgressText string `json:"progressText,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DiskState is where one disk of a point or of a restore is.
//
// +kubebuilder:validation:Enum=Pending;Cut;Transferring;Transferred;Done;Failed
type DiskState string

// The states of a disk.
const (
	DiskPending      DiskState = "Pending"
	DiskCut          DiskState = "Cut"          // its snapshot counts
	DiskTransferring DiskState = "Transferring" // a job moves its data
	DiskTransferred  DiskState = "Transferred"  // the engine says it is done; nobody has looked yet
	DiskDone         DiskState = "Done"         // inspected on the target, or restored and recorded
	DiskFailed       DiskState = "Failed"
)

// BackupDisk is one disk of a point.
type BackupDisk struct {
	// Name of the volume in the VM's spec.
	Name string `json:"name"`
	// Claim is the PersistentVolumeClaim.
	Claim string `json:"claim"`
	// Volume is the Longhorn volume.
	Volume string `json:"volume"`
	// SizeBytes is the volume's nominal size.
	SizeBytes int64     `json:"sizeBytes"`
	State     DiskState `json:"state"`
	// Snapshot is the engine snapshot that was cut for this point.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
	// Attempt counts backups of Snapshot, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// Backup is the Longhorn backup of the attempt that won or runs.
	// +optional
	Backup string `json:"backup,omitempty"`
	// Incremental is true when the engine found a base for this backup.
	// +optional
	Incremental bool `json:"incremental,omitempty"`
	// UploadedBytes is what was newly written to the target, compressed.
	// +optional
	UploadedBytes *int64 `json:"uploadedBytes,omitempty"`
	// +optional
	Progress *Progress `json:"progress,omitempty"`
	// +optional
	BackingImage *BackingImage `json:"backingImage,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// VMBackupList is a list of VMBackups.
//
// +kubebuilder:object:root=true
type VMBackupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VMBackup `json:"items"`
}
