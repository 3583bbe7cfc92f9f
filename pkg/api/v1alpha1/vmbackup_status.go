package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BackupPhase is where a point is in its life.
//
// +kubebuilder:validation:Enum=Pending;Cutting;Uploading;Verifying;Ready;Failed;DataLost;Missing;Damaged;Deleting
type BackupPhase string

// The phases of a VMBackup, in order. Ready and Failed are final; a Ready
// Snapshot can become DataLost, and a Ready Backup Missing until its document is
// seen again, or Damaged until a look for every block finds it whole.
const (
	BackupPending   BackupPhase = "Pending"   // accepted or waiting, nothing done yet
	BackupCutting   BackupPhase = "Cutting"   // engine snapshots of all disks are being cut
	BackupUploading BackupPhase = "Uploading" // at least one disk is not on the target yet
	BackupVerifying BackupPhase = "Verifying" // the target worker inspects the disks and writes the document
	BackupReady     BackupPhase = "Ready"
	BackupFailed    BackupPhase = "Failed"
	BackupDataLost  BackupPhase = "DataLost" // a volume or engine snapshot of it was removed by somebody else
	BackupMissing   BackupPhase = "Missing"  // its document is not on the target any more
	BackupDamaged   BackupPhase = "Damaged"  // a verification found that something of it is not on the target any more
	BackupDeleting  BackupPhase = "Deleting"
)

// Consistency tells how a point's disks were brought to rest when they were cut.
//
// +kubebuilder:validation:Enum=Frozen;Offline;Paused;CrashConsistent;NoGuestAgent;QuiesceFailed
type Consistency string

// What was reached. All but Frozen and Offline are what the guest would find
// after a power cut: its disks are of one moment, but nothing was flushed.
const (
	// ConsistencyFrozen: the guest's file systems were frozen from before the
	// first disk was cut until after the last one.
	ConsistencyFrozen Consistency = "Frozen"
	// ConsistencyOffline: the VM did not run, and no pod that could have been paused
	// had its disks.
	ConsistencyOffline Consistency = "Offline"
	// ConsistencyPaused: the container in which the VM runs stood still from before
	// the first disk was cut until after the last one, and with it whatever else has
	// the disks mounted; of a VM that does not run, only that. So no disk is ahead of
	// another, but nothing was flushed.
	ConsistencyPaused Consistency = "Paused"
	// ConsistencyCrash: the guest was not asked to freeze.
	ConsistencyCrash Consistency = "CrashConsistent"
	// ConsistencyNoAgent: the guest has no agent that could freeze it.
	ConsistencyNoAgent Consistency = "NoGuestAgent"
	// ConsistencyQuiesceFailed: freezing or pausing failed, or did not last until
	// the last disk was cut.
	ConsistencyQuiesceFailed Consistency = "QuiesceFailed"
)

// HookStatus tells how a hook of the VM ended.
type HookStatus struct {
	// Hook is pre, before the disks were cut, or post, afterwards.
	// +kubebuilder:validation:Enum=pre;post
	Hook string `json:"hook"`
	// Failed: it did not end with exit code 0, or could not be run.
	// +optional
	Failed bool `json:"failed,omitempty"`
	// Message is for people: how it ended.
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
}

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
	// ConsistencyMessage says why no better Consistency was reached, and what was
	// paused, or was not, of pods that have the VM's disks mounted.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	ConsistencyMessage string `json:"consistencyMessage,omitempty"`
	// CutWindowMilliseconds is the time between the first snapshot asked for
	// and the last one cut.
	// +optional
	CutWindowMilliseconds *int64 `json:"cutWindowMilliseconds,omitempty"`
	// FrozenMilliseconds is how long the guest was frozen, or paused; of a VM that does
	// not run, how long pods were that have its disks mounted.
	// +optional
	FrozenMilliseconds *int64 `json:"frozenMilliseconds,omitempty"`
	// Hooks of the VM that were run around the cut, by its annotations
	// pre.hook.hayloft.dev/command and post.hook.hayloft.dev/command.
	// +optional
	// +kubebuilder:validation:MaxItems=2
	Hooks []HookStatus `json:"hooks,omitempty"`
	// ReservedBytes is what the point was expected to take of the cluster's
	// storage; SnapshotQuotas count it until Longhorn tells what it takes.
	// +optional
	ReservedBytes *int64 `json:"reservedBytes,omitempty"`
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// CutAt is the moment that the point stands for.
	// +optional
	CutAt *metav1.MicroTime `json:"cutAt,omitempty"`
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// Document is the path of the metadata document on the target, or for type
	// Snapshot the name of the Secret that holds it; set when the point is Ready.
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
	// Verification is the last look whether the point is whole on its target, which
	// somebody asked for (annotation hayloft.dev/verify-requested).
	// +optional
	Verification *Verification `json:"verification,omitempty"`
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
	// Listed: Longhorn has shown the engine snapshot of a point of type Snapshot, so
	// if it does not show it any more, it was removed.
	// +optional
	Listed bool `json:"listed,omitempty"`
	// Superseded are engine snapshots of earlier points that were removed from
	// the volume when this disk was backed up.
	// +optional
	// +kubebuilder:validation:MaxItems=250
	Superseded []string `json:"superseded,omitempty"`
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
	// Shape is what a restored disk has to be like.
	// +optional
	Shape *DiskShape `json:"shape,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// DiskShape is what a disk's volume and claim were like when its point was
// begun. It is recorded then, since both may be gone before the document is
// written.
type DiskShape struct {
	// NumberOfReplicas, VolumeAccessMode ("rwo", "rwx") and Migratable are those of
	// the Longhorn volume.
	// +optional
	NumberOfReplicas int `json:"numberOfReplicas,omitempty"`
	// +optional
	VolumeAccessMode string `json:"volumeAccessMode,omitempty"`
	// +optional
	Migratable bool `json:"migratable,omitempty"`
	// StorageClass, VolumeMode and AccessModes are those of the claim.
	// +optional
	StorageClass string `json:"storageClass,omitempty"`
	// +optional
	VolumeMode corev1.PersistentVolumeMode `json:"volumeMode,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=8
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
}
